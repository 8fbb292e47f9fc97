/* Pieces that several views are made of.  A status is always a shape and a word; colour only repeats it. */

import { html } from './template.js';
import { number } from './format.js';
import { placeOf } from './router.js';

const OCTAGON = html`<path d="M4.6 1h4.8L13 4.6v4.8L9.4 13H4.6L1 9.4V4.6z" class="solid"/><path d="M4.6 4.6l4.8 4.8m0-4.8l-4.8 4.8" class="cut"/>`;
const TRIANGLE = html`<path d="M7 1l6.4 12H.6z" class="solid"/><path d="M7 5v4m0 1.2v1.5" class="cut"/>`;
const RING = html`<circle cx="7" cy="7" r="5.7" class="line"/>`;

const SHAPES = {
  critical: OCTAGON,
  warning: TRIANGLE,
  passing: html`${RING}<path d="M4.3 7.2l1.9 2 3.5-4" class="line"/>`,
  draining: html`${RING}<path d="M7 1.3a5.7 5.7 0 010 11.4z" class="solid"/>`,
  unknown: html`<circle cx="7" cy="7" r="5.7" class="line" stroke-dasharray="2.4 2"/>`,
  info: html`<circle cx="7" cy="7" r="2.4" class="solid"/>`,
  down: html`<path d="M2.5 2.5l9 9m0-9l-9 9" class="line thick"/>`,
};

export function shape(status) {
  return SHAPES[status] ?? SHAPES.unknown;
}

export function icon(status) {
  return html`<svg class="icon ${status}" viewBox="0 0 14 14" aria-hidden="true">${shape(status)}</svg>`;
}

/* The shape with its word. */
export function status(kind, word = kind) {
  return html`<span class="status ${['critical', 'warning', 'down'].includes(kind) && kind}">${icon(kind)}${word}</span>`;
}

/* The status of a server that a row shows: what it does with new flows counts before its health. */
export function serverStatus(server) {
  if (['draining', 'drained', 'disabled'].includes(server.state)) return 'draining';
  return server.health?.status ?? 'unknown';
}

export function serverWord(server) {
  return serverStatus(server) === 'draining' ? server.state : serverStatus(server);
}

/* A link to where the subject of an alarm or an event is shown. */
export function linkTo(subject, words, names = 'link') {
  const place = placeOf(subject);
  return place ? html`<a class="${names}" href="${place}">${words}</a>` : words;
}

/* A section with a heading.  more: what stands beside the heading. */
export function card(key, title, more, content, names = '') {
  return html`<section class="card ${names}" data-key="${key}" aria-labelledby="title-${key}">
    <div class="card-head"><h2 id="title-${key}">${title}</h2>${more}</div>${content}</section>`;
}

export const SPACE = html`<span class="space"></span>`;

/* The head of a table; a title that begins with > stands over numbers. */
export function tableHead(...titles) {
  return html`<thead><tr>${titles.map((title) => title.startsWith('>')
    ? html`<th scope="col" class="right">${title.slice(1)}</th>` : html`<th scope="col">${title}</th>`)}</tr></thead>`;
}

/* A cell; narrow windows show its title beside it. */
export function cell(title, content, names = '') {
  return html`<td class="${names}" data-title="${title}">${content}</td>`;
}

/* An address with its port; protocols without ports have port 0.  It may be broken between the two. */
export function endpoint(address, port) {
  if (!port) return address;
  return html`${address.includes(':') ? `[${address}]` : address}<wbr>:${port}`;
}

/* A share of 1 as a bar, hatched above its limit, where the limit is marked. */
export function bar(share, limit = null) {
  const width = `${Math.min(100, Math.max(0, share * 100)).toFixed(1)}%`;
  return html`<svg class="bar ${limit !== null && share > limit && 'over'}" aria-hidden="true">
    <rect class="bar-ground" width="100%" height="100%"/><rect class="bar-fill" width="${width}" height="100%"/>${
    limit !== null && html`<rect class="bar-limit" x="${limit * 100}%" width="2" height="100%"/>`}</svg>`;
}

/* Leased, resting and free addresses of a pool. */
export function gauge(pool, label, low) {
  const part = (n) => (pool.size ? (n / pool.size) * 100 : 0);
  return html`<svg class="gauge ${low && 'over'}" role="meter" aria-valuemin="0" aria-valuemax="${pool.size}"
    aria-valuenow="${pool.size - pool.free}" aria-label="${label}"><rect class="gauge-leased" width="${part(pool.leased)}%" height="100%"/>
    <rect class="gauge-resting" x="${part(pool.leased)}%" width="${part(pool.resting)}%" height="100%"/></svg>`;
}

const WIDE = 200;
const HIGH = 40;

/* A line of numbers over time.  full: the value at the top of the picture, with a line there; marks: shares of the
width at which something happened. */
export function sparkline(values, words, { full = null, marks = [], digits = 0 } = {}) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return html`<p class="quiet small spark">No course yet.</p>`;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const top = full ?? high;
  const bottom = full === null ? low - (high - low) * 0.15 : 0;
  const y = (value) => (HIGH - 2 - ((value - bottom) / (top - bottom || 1)) * (HIGH - 4)).toFixed(1);
  const x = (index) => ((index / (values.length - 1)) * WIDE).toFixed(1);
  let pen = 'M';
  const points = values.map((value, index) => {
    if (value === null) { pen = 'M'; return ''; }
    const point = `${pen}${x(index)} ${y(value)}`;
    pen = 'L';
    return point;
  });
  return html`<svg class="spark" viewBox="0 0 ${WIDE} ${HIGH}" preserveAspectRatio="none" role="img" aria-label="${words}: last hour from ${
    number(known[0], digits)} to ${number(known.at(-1), digits)}, lowest ${number(low, digits)}, highest ${number(high, digits)}">
    <path class="spark-ground" d="M0 ${HIGH - 0.5}H${WIDE}${full !== null && `M0 2H${WIDE}`}"/>${
    marks.map((mark) => html`<path class="spark-mark" d="M${(mark * WIDE).toFixed(1)} 0V${HIGH}"/>`)}<path class="spark-line" d="${points.join('')}"/></svg>`;
}

export function option(value, words, chosen) {
  return html`<option value="${value}" ${value === chosen && SELECTED}>${words}</option>`;
}

const SELECTED = html`selected`;

/* An event in a list. */
export function eventRow(event, isNew, clockOf) {
  return html`<li data-key="event-${event.id}" class="${isNew && 'new'}"><time datetime="${event.at}">${clockOf(event.at)}</time>${icon(event.severity)}<span><span class="unseen">${
    event.severity}: </span>${linkTo(event.subject, event.type, 'link faint')} ${event.message}${
    event.member && html` <span class="quiet">(${event.member})</span>`}</span></li>`;
}

/* A list or table of which nothing is there: what is missing, and the command for it. */
export function empty(words, command = null) {
  return html`<div class="empty"><p>${words}</p>${command && html`<p class="mono">${command}</p>`}</div>`;
}

export function skeleton() {
  return html`<p class="unseen" role="status">Loading</p><div class="card skeleton" aria-hidden="true">${
    [90, 83, 76, 69, 62, 55, 48].map((width) => html`<svg class="skeleton-bar"><rect width="${width}%" height="100%"/></svg>`)}</div>`;
}
