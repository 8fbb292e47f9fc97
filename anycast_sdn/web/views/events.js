/* Events: what happened?  Those that the page has seen, the latest first; "Hold" keeps the list as it is and counts what
waits.  When more come in a second than one can read, those of one type stand in one row. */

import { html } from '../template.js';
import { clock, count, number } from '../format.js';
import { SPACE, empty, eventRow, icon, option } from '../parts.js';

const ROWS = 120;
const READABLE = 50; // a second
const NEW_MS = 4000;
const RANK = { info: 0, warning: 1, critical: 2 };
const SEARCHED = 2000;

export const events = {
  title: 'Events',
  needs: () => [],
  render(app) {
    const { query } = app.route;
    const memory = app.memory('events');
    const wanted = selected(query);
    const found = app.events.last(SEARCHED, (event) => wanted(event) && (memory.held === undefined || event.id <= memory.held));
    const waiting = memory.held === undefined ? 0 : app.events.last(SEARCHED, (event) => event.id > memory.held).length;
    return html`<h1 class="unseen">Events</h1><section class="card" aria-label="Events">${tools(app, query, memory, waiting)}${
      found.length ? html`<ul class="events">${folded(found).slice(0, ROWS).map((row) => shown(app, row))}</ul>${
        found.length > ROWS && html`<p class="pad quiet small">${ROWS} rows of ${number(found.length)} events; all that are kept: GET /v1/events</p>`}`
        : empty(app.events.lastId ? 'No events match.' : 'No events since the controller started.')}</section>`;
  },
  actions: { hold },
  keys: { p: hold },
};

function hold(app) {
  const memory = app.memory('events');
  memory.held = memory.held === undefined ? app.events.lastId : undefined;
}

/* Is an event wanted by the settings of the view? */
function selected(query) {
  const least = RANK[query.get('severity')] ?? 0;
  const family = query.get('about');
  const text = (query.get('q') ?? '').toLowerCase();
  return ({ severity, type, message, subject }) => (RANK[severity] ?? 0) >= least && (!family || type.split('.')[0] === family)
    && (!text || `${type} ${subject?.name ?? ''} ${message}`.toLowerCase().includes(text));
}

function tools(app, query, memory, waiting) {
  const kinds = [...new Set(app.events.last(SEARCHED).map(({ type }) => type.split('.')[0]))].sort();
  const about = query.get('about') ?? '';
  if (about && !kinds.includes(about)) kinds.push(about);
  const least = query.get('severity') ?? '';
  const isHeld = memory.held !== undefined;
  return html`<div class="tools"><input type="search" data-setting="q" placeholder="find in events" aria-label="Find in events" value="${query.get('q') ?? ''}">
    <label>At least <select data-setting="severity">${option('', 'info', least)}${option('warning', 'warning', least)}${option('critical', 'critical', least)}</select></label>
    <label>About <select data-setting="about">${option('', 'everything', about)}${kinds.map((kind) => option(kind, kind, about))}</select></label>${SPACE}
    <button class="button" data-action="hold" aria-pressed="${String(isHeld)}">${isHeld ? `Go on${waiting ? `: ${number(waiting)} new` : ''}` : 'Hold'}</button></div>`;
}

/* Events as rows: {event, times}.  In a second with more than one can read, one row for each type. */
function folded(found) {
  const perSecond = new Map();
  for (const { at } of found) perSecond.set(at.slice(0, 19), (perSecond.get(at.slice(0, 19)) ?? 0) + 1);
  const rows = [];
  const together = new Map();
  for (const event of found) {
    const second = event.at.slice(0, 19);
    const key = `${second} ${event.type}`;
    if (perSecond.get(second) <= READABLE) rows.push({ event, times: 1 });
    else if (together.has(key)) together.get(key).times += 1;
    else {
      together.set(key, { event, times: 1 });
      rows.push(together.get(key));
    }
  }
  return rows;
}

function shown(app, { event, times }) {
  if (times === 1) return eventRow(event, app.now - Date.parse(event.at) < NEW_MS, clock);
  return html`<li data-key="event-${event.id}"><time datetime="${event.at}">${clock(event.at)}</time>${icon(event.severity)}<span><span class="unseen">${
    event.severity}: </span><b>${count(times, event.type, event.type)}</b> in this second, the last one: ${event.message}</span></li>`;
}
