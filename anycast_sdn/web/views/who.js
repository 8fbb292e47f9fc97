/* Who had it?  Who held a translated address (PR1X) at a time: asked once for each look-up. */

import { html } from '../template.js';
import { count, duration, number, timestamp } from '../format.js';
import { cell, empty, endpoint, status, tableHead } from '../parts.js';
import { resource } from '../resources.js';

const ONCE_S = 86400;
const TIME = '\\d{4}-\\d\\d-\\d\\d[T ]\\d\\d:\\d\\d(:\\d\\d(\\.\\d+)?)?Z?|-?\\d{1,6}[smhd]';
const UNITS_MS = { s: 1000, m: 60000, h: 3600000, d: 86400000 };

export const who = {
  title: 'Who had it?',
  needs(app) {
    const path = pathOf(app);
    return path && !app.error(path) ? [resource(path, ONCE_S)] : [];
  },
  render(app) {
    return html`<h1 class="unseen">Who had it?</h1><section class="card" aria-labelledby="title-who"><div class="card-head"><h2 id="title-who">Who held a translated address?</h2></div>${
      form(app)}<div role="status">${answer(app)}</div></section>`;
  },
  actions: {
    'look-up'(app, element) {
      const fields = Object.fromEntries(new FormData(element));
      app.set({ translated: fields.translated.trim(), at: inUtc(fields.at.trim(), app.now), port: fields.port.trim() });
    },
  },
};

/* A time that somebody wrote as in RFC 3339, or how long ago it is, such as 5m. */
function inUtc(text, now) {
  const ago = /^-?(\d+)([smhd])$/.exec(text);
  if (ago) return new Date(now - ago[1] * UNITS_MS[ago[2]]).toISOString();
  const [day, time] = text.replace(' ', 'T').replace(/Z$/, '').split('T');
  return `${day}T${time.length === 5 ? `${time}:00` : time}Z`;
}

function pathOf(app) {
  const { query } = app.route;
  if (!query.get('translated') || !query.get('at')) return null;
  const asked = new URLSearchParams({ translated: query.get('translated'), at: query.get('at') });
  if (query.get('port')) asked.set('port', query.get('port'));
  return `/v1/bindings/history?${asked}`;
}

function form(app) {
  const { query } = app.route;
  const memory = app.memory('who');
  memory.at ??= new Date(app.now - 60000).toISOString().slice(0, 19).replace('T', ' '); // a minute ago
  const at = query.get('at')?.replace('T', ' ').replace(/Z$/, '') ?? memory.at;
  return html`<form class="tools" data-form="look-up" autocomplete="off">
    <label>Address (PR1X) <input name="translated" class="mono" size="24" value="${query.get('translated') ?? ''}" spellcheck="false" required></label>
    <label>At, UTC <input name="at" class="mono" size="20" pattern="${TIME}" title="2026-11-25 20:40, or how long ago: 90s, 5m, 2h, 1d" value="${at}" required></label>
    <label>Port <input name="port" class="mono" size="6" inputmode="numeric" pattern="[0-9]{1,5}" placeholder="any" value="${query.get('port') ?? ''}"></label>
    <button class="button primary">Look up</button></form>`;
}

function answer(app) {
  const path = pathOf(app);
  if (!path) return empty('An address of a pool, and when: the answer names the client behind it, from the binding log.', 'anycast-sdn who ADDRESS --at TIME');
  const refused = app.error(path);
  if (refused) return html`<p class="pad">${refused.message}</p>`;
  const known = app.value(path);
  if (!known) return html`<p class="empty">Looking it up.</p>`;
  return known.bindings.length ? found(app, known) : nobody(app, known);
}

function nobody(app, known) {
  const { query } = app.route;
  return html`<p class="empty">Nobody held ${query.get('translated')} at ${timestamp(query.get('at'))} UTC, as far as the log knows.${extent(known)}</p>${gaps(known)}`;
}

/* How far the log goes back. */
function extent({ begins, retention_days: days }) {
  return html`${begins && ` It begins at ${timestamp(begins)}.`}${days && ` Records are kept for ${number(days)} days.`}`;
}

/* Records may be missing: then the answer may be, too. */
function gaps({ gaps: missing = [], incomplete: others = [] }) {
  const elsewhere = others.length > 0 && html`<p class="pad">${status('warning', 'Other members may have served flows then:')} ask ${others.join(', ')}, too.</p>`;
  return [elsewhere, ...missing.map(({ from, to, reason, member, missing: records }) => html`<p class="pad">${
    status('warning', member ? `The log of ${member} has a gap` : 'The log has a gap')} from ${
    from ? timestamp(from) : 'an unknown time'} to ${to ? timestamp(to) : 'now'}${reason && `: ${reason}`}${records > 0 && `, ${count(records, 'record')} missing`}.</p>`)];
}

function found(app, known) {
  const { query } = app.route;
  const { bindings } = known;
  const [first] = bindings;
  const asked = query.get('translated');
  const port = first.client_port ? `, port ${first.client_port},` : '';
  const more = bindings.length > 1 ? ` and ${bindings.length - 1} more, all below` : '';
  const option = query.get('port') ? ` --port ${query.get('port')}` : '';
  return html`<p class="pad found"><b class="mono">${first.client}</b>${port} behind ${first.edge} held ${asked} at ${timestamp(query.get('at'))} UTC${more}.</p>
    <div class="scrolls"><table class="cards"><caption class="unseen">Bindings of ${asked} at that time</caption>${
    tableHead('From', 'To', 'H', 'ANY', 'Protocol', 'PR1X', 'ASg', 'Site')}<tbody>${bindings.map(row)}</tbody></table></div>
    ${gaps(known)}<p class="pad quiet small mono">anycast-sdn who ${asked}${option} --at ${query.get('at')}</p>`;
}

function row(binding, index) {
  const { from, to, ended_by: reason } = binding;
  const held = to && duration((Date.parse(to) - Date.parse(from)) / 1000);
  return html`<tr class="row" data-key="${index}">${cell('From', from ? timestamp(from) : '–', 'nowrap')}${
    cell('To', to ? html`${timestamp(to)} <span class="quiet">${held}${reason && `, ${reason}`}</span>` : 'still open')}${
    cell('H', endpoint(binding.client, binding.client_port), 'mono')}${cell('ANY', endpoint(binding.service, binding.service_port), 'mono')}${
    cell('Protocol', binding.protocol)}${cell('PR1X', binding.translated, 'mono')}${cell('ASg', binding.server ?? '–', 'mono')}${cell('Site', binding.edge)}</tr>`;
}
