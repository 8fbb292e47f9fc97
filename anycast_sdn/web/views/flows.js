/* Flows: who is bound to whom, and why?

The list is one page of the controller's, filtered there.  It is fetched every two seconds and stays as it is while the
pointer or the focus is in it.  A row opens to the record of its decision.
*/

import { html } from '../template.js';
import { duration, listed, number } from '../format.js';
import { SPACE, cell, empty, endpoint, icon, option, status, tableHead } from '../parts.js';
import { EDGES, resource, SERVICES } from '../resources.js';
import { address } from '../router.js';
import { decision } from './decision.js';

// Their names are the choices of the filters.
const CHOICES = [resource(SERVICES.path, 60, ['group']), resource(EDGES.path, 60)];
const PAGE = 50;
const TYPING_MS = 300;
const FILTERS = ['q', 'group', 'edge', 'state', 'server'];
const SHAPES = { pinned: 'passing', unanswered: 'unknown' };

export const flows = {
  title: 'Flows',
  reset: { page: null },
  needs(app) {
    return [...CHOICES, resource(pathOf(app), 2), ...opened(app).map((name) => resource(detail(name), 5))];
  },
  render(app) {
    const memory = remembered(app);
    const answer = app.value(pathOf(app));
    if (answer) memory.shown = answer;
    const pending = (!answer && !app.error(pathOf(app))) || opened(app).some((name) => !app.value(detail(name)) && !app.error(detail(name)));
    return html`<h1 class="unseen">Flows</h1><section class="card" aria-label="Flows">${tools(app, memory.shown)}
      <div class="flow-list" aria-busy="${String(pending)}">${list(app, memory.shown)}</div></section>`;
  },
  /* Unless something has just been asked for. */
  waits(main) {
    const shown = main.querySelector('.flow-list');
    if (!shown || shown.ariaBusy === 'true') return false;
    return shown.matches(':hover') || shown.contains(document.activeElement);
  },
  left(app) {
    remembered(app).ended.clear();
  },
  actions: {
    open(app, element) {
      const { open } = remembered(app);
      const name = element.dataset.flow;
      if (app.route.subject?.name === name) app.select(null);
      else if (!open.delete(name)) open.add(name);
      app.refresh();
    },
    'clear-filters': (app) => app.set(Object.fromEntries([...FILTERS, 'page'].map((name) => [name, null]))),
    'first-page': (app) => app.set({ page: null }),
    'next-page': (app) => app.set({ page: new URLSearchParams(remembered(app).shown.next.split('?')[1]).get('cursor') }),
  },
  keys: {
    j: () => step(1),
    k: () => step(-1),
    Escape(app) {
      remembered(app).open.clear();
      app.select(null);
    },
  },
};

function remembered(app) {
  const memory = app.memory('flows');
  memory.open ??= new Set();
  memory.ended ??= new Set(); // of those, the ones that the controller does not know any more
  memory.query ??= { wanted: '', at: 0, used: '' };
  return memory;
}

/* The page that is asked for, once somebody has stopped typing. */
function pathOf(app) {
  const { query } = remembered(app);
  const asked = app.route.query;
  const wanted = new URLSearchParams({ limit: PAGE, order: 'newest' });
  for (const name of FILTERS) if (asked.get(name)) wanted.set(name, asked.get(name));
  if (asked.get('page')) wanted.set('cursor', asked.get('page'));
  const text = String(wanted);
  if (text !== query.wanted) {
    const typed = new URLSearchParams(query.wanted).get('q') !== wanted.get('q') && query.used !== '';
    Object.assign(query, { wanted: text, at: typed ? Date.now() : 0 });
  }
  if (Date.now() - query.at >= TYPING_MS) query.used = text;
  return `/v1/flows?${query.used}`;
}

/* The flows whose decisions are shown: rows that are open, and the one that the page's address names. */
function opened(app) {
  const { open, ended } = remembered(app);
  const { subject } = app.route;
  const names = new Set(subject?.kind === 'flow' ? [subject.name, ...open] : open);
  for (const name of names) if (app.error(detail(name))?.status === 404) ended.add(name);
  return [...names].filter((name) => !ended.has(name));
}

function detail(name) {
  return `/v1/flows/${name.split('/').map(encodeURIComponent).join('/')}`;
}

function nameOf(flow) {
  return `${flow.edge}/${flow.number}`;
}

/* Focus goes to the next flow, or the one before. */
function step(by) {
  const rows = [...document.querySelectorAll('main [data-flow]')];
  const at = rows.indexOf(document.activeElement);
  rows[Math.max(0, Math.min(rows.length - 1, at + by))]?.focus();
}

function tools(app, shown) {
  const { query } = app.route;
  const sites = (app.value(EDGES.path)?.edges ?? []).filter(({ roles }) => roles.includes('client edge'));
  const groups = app.value(SERVICES.path)?.services ?? [];
  const choice = (name, word, values) => html`<label>${word} <select data-setting="${name}">${option('', 'all', query.get(name) ?? '')}${
    values.map((value) => option(value, value, query.get(name)))}</select></label>`;
  const summary = shown?.summary;
  return html`<div class="tools"><input type="search" data-setting="q" placeholder="address, port or number" aria-label="Find an address, port or number" value="${
    query.get('q') ?? ''}">${choice('group', 'Group', groups.map(({ name }) => name))}${choice('edge', 'Site', sites.map(({ name }) => name))}${
    choice('state', 'State', ['pinned', 'unanswered'])}${query.get('server') && html`<span class="chip">Server <span class="mono">${query.get('server')}</span></span>`}${
    FILTERS.some((name) => query.get(name)) && html`<button class="link" data-action="clear-filters">Clear</button>`}${SPACE}${
    summary && html`<span class="quiet small">in all ${number(summary.pinned)} pinned, ${number(summary.unanswered)} unanswered</span>`}</div>`;
}

function list(app, shown) {
  if (!shown) return html`<p class="empty">${app.error(pathOf(app))?.message ?? 'Loading.'}</p>`;
  const asked = FILTERS.some((name) => app.route.query.get(name));
  const masters = shown.incomplete ?? []; // a controller of an earlier release does not say it
  const missing = masters.length > 0 && html`<p class="pad">${status('warning', 'Some flows are missing:')} those whose master is ${
    listed(masters)} are not known now.</p>`;
  const named = outside(app, shown.flows);
  if (!shown.flows.length && !named) {
    return html`${missing}${asked ? empty('No flow matches. Clear a filter, or ask “Who had it?” for flows that have ended.') : empty('No flows yet.')}`;
  }
  return html`${missing}<div class="scrolls"><table class="cards"><caption class="unseen">Flows, the latest first</caption>${
    tableHead('Flow', 'State', 'H', 'ANY', 'Protocol', 'PR1X', 'ASg', 'Group', '>Age')}<tbody>${
    [...(named ? [named] : []), ...shown.flows].map((flow) => rows(app, flow))}</tbody></table></div>${ended(app)}${pages(app, shown)}`;
}

/* The flow that the address names, when it is on no row of this page. */
function outside(app, listed) {
  const { subject } = app.route;
  if (subject?.kind !== 'flow' || listed.some((flow) => nameOf(flow) === subject.name)) return null;
  return app.value(detail(subject.name)) ?? null;
}

function ended(app) {
  const { subject } = app.route;
  const gone = subject?.kind === 'flow' && remembered(app).ended.has(subject.name);
  return gone && html`<p class="pad" role="status">Flow ${subject.name} has ended. <a class="link" href="${address('who')}">Who had it?</a> finds it in the log.</p>`;
}

function rows(app, flow) {
  const name = nameOf(flow);
  const isOpen = remembered(app).open.has(name) || app.route.subject?.name === name;
  const age = duration((app.now - Date.parse(flow.since)) / 1000);
  return html`<tr class="row ${isOpen && 'asked'}" data-key="${name}"><td class="nowrap full"><button class="link disclosure" data-action="open" data-flow="${name}" aria-expanded="${
    String(isOpen)}"><span aria-hidden="true">${isOpen ? '▾' : '▸'}</span> ${name}</button></td>
    <td data-title="State"><span class="status">${icon(SHAPES[flow.state])}${flow.state}</span></td>
    ${cell('H', endpoint(flow.client, flow.client_port), 'mono')}${cell('ANY', endpoint(flow.service, flow.service_port), 'mono')}${cell('Protocol', flow.protocol)}
    ${cell('PR1X', endpoint(flow.translated, flow.translated_port), 'mono')}${cell('ASg', flow.server ?? '–', 'mono')}${cell('Group', flow.group)}
    ${cell('Age', `${age}${flow.idle && `, idle ${flow.idle}`}`, 'right nowrap')}</tr>${
    isOpen && html`<tr class="opened" data-key="${name} decision"><td colspan="9">${decision(flow, app.value(detail(name)), app.error(detail(name)))}</td></tr>`}`;
}

function pages(app, shown) {
  const later = app.route.query.get('page');
  return (later || shown.next) && html`<div class="tools foot">${later && html`<button class="button" data-action="first-page">Latest</button>`}${
    shown.next && html`<button class="button" data-action="next-page">Older</button>`}<span class="quiet small">${number(shown.flows.length)} at a time${
    app.paused ? '' : ', anew every 2 s'}</span></div>`;
}
