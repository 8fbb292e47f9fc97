/* Services: who serves, how much, and why not?  A card for each group, its servers in rows, the worst first.

In a network with many servers a group shows one line until it is opened, and then a page of its servers.
*/

import { flag, html } from '../template.js';
import { clock, count, duration, number, percent } from '../format.js';
import { SPACE, bar, cell, empty, icon, status, tableHead } from '../parts.js';
import { prefixes } from '../map/table.js';
import { resource } from '../resources.js';
import { address } from '../router.js';
import { areFew, groupResources, groupsOf } from '../services.js';
import { reveal } from './reveal.js';

const LIMIT = 0.8; // of load, where new flows begin to go elsewhere, unless the group says something else
const SHOWN = 100; // servers of a group
const RANK = { critical: 0, warning: 1, unknown: 2, passing: 3 };

export const services = {
  title: 'Services',
  needs(app) {
    const pages = areFew(app) === false ? groupsOf(app).filter((group) => isOpen(app, group)).flatMap((group) => paths(app, group)) : [];
    return [...groupResources(app), ...pages.map((path) => resource(path, 5, ['server']))];
  },
  render(app) {
    const groups = groupsOf(app);
    if (!groups.length) {
      return html`<h1 class="unseen">Services</h1><div class="card">${empty('No group yet, so no service.', 'anycast-sdn group add web 198.18.0.1/32')}</div>`;
    }
    const { subject } = app.route;
    reveal(app, subject, subject && (subject.kind === 'server' ? `.servers [data-server="${CSS.escape(subject.name)}"]` : `#group-${CSS.escape(subject.name)}`));
    return html`<h1 class="unseen">Services</h1><div class="stack">${groups.map((group) => card(app, group))}</div>`;
  },
  actions: {
    open(app, element) {
      const { opened, cursors } = remembered(app);
      const { group } = element.dataset;
      opened.set(group, element.getAttribute('aria-expanded') !== 'true');
      cursors.delete(group);
      app.refresh();
    },
    'servers-page'(app, element) {
      remembered(app).cursors.set(element.dataset.group, element.dataset.cursor);
      app.refresh();
    },
  },
};

function remembered(app) {
  const memory = app.memory('services');
  memory.opened ??= new Map();
  memory.cursors ??= new Map(); // group → where its page of servers begins
  return memory;
}

/* With few servers all groups are open; otherwise those that somebody has opened, or that an alarm has led to. */
function isOpen(app, { name }) {
  const { subject, query } = app.route;
  const isAsked = subject?.kind === 'server' ? query.get('group') === name : subject?.name === name;
  return remembered(app).opened.get(name) ?? (areFew(app) || isAsked);
}

/* What is asked for of a group with many servers: a page, and the server that an alarm has led to. */
function paths(app, { name }) {
  const { subject, query } = app.route;
  const group = `/v1/groups/${encodeURIComponent(name)}/servers`;
  const cursor = remembered(app).cursors.get(name);
  const page = `${group}?${new URLSearchParams({ limit: SHOWN, ...(cursor ? { cursor } : {}) })}`;
  return subject?.kind === 'server' && query.get('group') === name ? [page, `${group}/${encodeURIComponent(subject.name)}`] : [page];
}

function card(app, group) {
  const { name, totals } = group;
  const open = isOpen(app, group);
  return html`<section class="card" id="group-${name}" data-key="${name}" aria-labelledby="title-${name}">
    <div class="card-head"><h2 class="name" id="title-${name}">${name}</h2><span class="mono">${prefixes(group.prefixes)}</span><span class="quiet">affinity ${group.affinity}</span>${SPACE}${
    summary(totals)}<span class="quiet">${count(totals.flows, 'flow')}</span>${!areFew(app) && html`<button class="link" data-action="open" data-group="${name}" aria-expanded="${
    open ? 'true' : 'false'}">${open ? 'Close' : count(totals.servers, 'server')}</button>`}</div>${open && content(app, group)}</section>`;
}

/* How many are not well; nothing when all are. */
function summary(totals) {
  return ['critical', 'warning'].map((kind) => totals[kind] > 0 && status(kind, `${number(totals[kind])} of ${number(totals.servers)} ${kind}`));
}

function content(app, group) {
  const { name, totals } = group;
  if (!totals.servers) return empty('Nobody is enrolled.', `anycast-sdn server add ${name} ADDRESS`);
  const [page, asked] = group.servers ? [null] : paths(app, group);
  const answer = page && app.value(page);
  if (page && !answer) return html`<p class="pad quiet" role="status">Loading</p>`;
  const rows = group.servers ? [...group.servers].sort((one, other) => rank(one) - rank(other)) : answer.servers;
  const first = asked && app.value(asked);
  return html`<div class="scrolls"><table class="cards servers"><caption class="unseen">Servers of ${name}</caption>${
    tableHead('Server', 'Edge', 'Health', '>Weight set', 'in effect', 'Load', 'cpu / mem / net', '>Flows', 'Takes new flows?')}
    <tbody>${[first, ...rows.filter(({ address: own }) => own !== first?.address)].filter(Boolean).map((server) => row(app, name, server))}</tbody></table></div>${
    answer && pages(app, group, answer)}`;
}

/* Where to go on in a group with many servers. */
function pages(app, { name, totals }, { servers, next }) {
  const isFirst = !remembered(app).cursors.get(name);
  const go = (cursor, words, isThere) => html`<button class="button" data-action="servers-page" data-group="${name}" data-cursor="${cursor}" ${flag('disabled', !isThere)}>${words}</button>`;
  return html`<div class="tools">${go('', 'First page', !isFirst)}${go(next ? new URLSearchParams(next.split('?')[1]).get('cursor') : '', 'Next page', next)}
    <span class="quiet small">${number(servers.length)} of ${number(totals.servers)} servers, the worst first</span></div>`;
}

/* The worst first; of the others those that are loaded most. */
function rank(server) {
  const busy = server.excluded || server.drain ? 0.5 : 0;
  return (RANK[server.health?.status] ?? 2) - busy - (loadOf(server).overall ?? 0) / 10;
}

function row(app, group, server) {
  const { health, address: own } = server;
  const isAsked = app.route.subject?.kind === 'server' && app.route.subject.name === own;
  const { overall, cpu, memory, network } = loadOf(server);
  const effective = server.effective_weight;
  return html`<tr class="row ${isAsked && 'asked'}" data-key="${own}" data-server="${own}">
    <th scope="row" class="mono full"><a class="link" href="${address('map', { kind: 'server', name: own })}">${own}</a></th>
    ${cell('Edge', server.edge ?? '–')}
    <td class="full" data-title="Health">${status(health.status)} <span class="quiet">${health.since && duration((app.now - Date.parse(health.since)) / 1000)}</span>${
    health.reason && html`<div class="quiet small">${health.reason}</div>`}</td>
    ${cell('Weight set', number(server.weight), 'right')}
    ${cell('in effect', html`<span class="nowrap">${bar(effective / (server.weight || 1))}${number(effective, effective % 1 ? 1 : 0)}</span>`)}
    ${cell('Load', overall === null ? html`<span class="quiet">not reported</span>` : html`<span class="nowrap">${bar(overall, LIMIT)}${percent(overall)}</span>`)}
    ${cell('cpu / mem / net', server.load ? [cpu, memory, network].map(percent).join(' / ') : '–', 'quiet')}
    <td class="right" data-title="Flows"><a class="link" href="${address('flows', null, { group, server: own })}">${number(server.flows)}</a></td>
    <td class="full" data-title="Takes new flows?">${takes(app, server)}</td></tr>`;
}

/* The reported load, in whole and in parts. */
function loadOf({ load }) {
  return load ?? { overall: null };
}

const WHY_NOT = {
  unreachable: 'does not answer ARP or ND', critical: 'health is critical', weight_0: 'its weight is 0',
  edge_unable: 'its switch cannot be a server edge', edge_draining: 'its edge is drained', draining: 'draining', drained: 'drained', disabled: 'disabled',
};

function takes(app, server) {
  if (server.drain) return draining(app, server);
  const excluded = server.excluded ?? (server.state === 'active' ? null : server.state);
  if (excluded) return html`no: ${WHY_NOT[excluded] ?? excluded}`;
  if (!server.reachable) return html`no: ${WHY_NOT.unreachable}`;
  return server.effective_weight < server.weight ? 'yes, fewer: load' : 'yes';
}

function draining(app, { flows, drain }) {
  const began = drain.flows_at_start;
  const left = drain.flows_left ?? flows;
  const words = { keep: 'it stays enrolled', remove: 'it is removed' }[drain.then] ?? drain.then;
  return html`<span class="status">${icon('draining')}draining</span><div class="progress">${began > 0 && bar(1 - left / began)}${
    began > 0 ? `${number(left)} of ${number(began)} left` : `${count(left, 'flow')} left`}</div><div class="quiet small">${
    drain.deadline ? `until ${clock(drain.deadline)} at most, then ${words}` : `then ${words}`}</div>`;
}
