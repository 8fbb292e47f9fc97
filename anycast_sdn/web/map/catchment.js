/* The catchment as a table: which edges get the new flows of each site, by service. */

import { number, percent } from '../format.js';
import { catchmentRows, destinations, siteNames } from '../network.js';
import { icon } from '../parts.js';
import { html } from '../template.js';

const MOST_SITES = 10; // that have a column each
const MOST_ROWS = 60;

/* pickable: cells are buttons that show their path on the map. */
export function catchmentTable(app, groups, topology, edges, pickable = false) {
  const rows = catchmentRows(groups, topology);
  const sites = siteNames(edges);
  const context = { app, topology, edges, pickable };
  const left = rows.length > MOST_ROWS && html`<p class="pad quiet small">${number(MOST_ROWS)} of ${number(rows.length)} rows are shown.</p>`;
  const table = sites.length > MOST_SITES ? byAnswer(rows, context) : bySite(rows, sites, context);
  return html`<div class="scrolls"><table class="catchment"><caption class="unseen">Where traffic goes now, by service and site</caption>${table}</table>${left}</div>`;
}

function bySite(rows, sites, context) {
  return html`<thead><tr><th scope="col">Service</th>${sites.map((site) => html`<th scope="col">from ${site}</th>`)}</tr></thead>
    <tbody>${rows.slice(0, MOST_ROWS).map((row) => html`<tr data-key="${row.group} ${row.prefixes[0]}">${service(row)}${
      sites.map((site) => html`<td>${cell(row, site, context)}</td>`)}</tr>`)}</tbody>`;
}

/* With many sites: a line per answer. */
function byAnswer(rows, context) {
  const lines = rows.slice(0, MOST_ROWS).flatMap((row) => {
    const answers = Map.groupBy(Object.keys(row.sites), (site) => row.sites[site]);
    return Array.from(answers, ([edge, sites]) => ({ row, edge, sites }));
  });
  return html`<thead><tr><th scope="col">Service</th><th scope="col">from</th><th scope="col">to</th></tr></thead>
    <tbody>${lines.slice(0, MOST_ROWS).map(({ row, edge, sites }) => html`<tr data-key="${row.group} ${row.prefixes[0]} ${edge}">${service(row)}<td>${
      sites.length > 3 ? `${number(sites.length)} sites` : sites.join(', ')}</td><td>${cell(row, sites[0], context)}</td></tr>`)}</tbody>`;
}

function service({ group, prefixes }) {
  const more = prefixes.length > 1 && html` <span class="small">and ${number(prefixes.length - 1)} more</span>`;
  return html`<th scope="row"><b>${group}</b> <span class="mono">${prefixes[0]}</span>${more}</th>`;
}

function cell(row, site, { app, topology, edges, pickable }) {
  const words = answer(row.prefixes[0], site, topology, edges);
  if (!pickable) return words;
  const { query } = app.route;
  const isPicked = query.get('prefix') === row.prefixes[0] && query.get('site') === site;
  return html`<button class="pick" data-action="pick" data-group="${row.group}" data-prefix="${row.prefixes[0]}" data-site="${site}" aria-pressed="${String(isPicked)}">${words}</button>`;
}

export function answer(prefix, site, topology, edges) {
  const edge = topology.catchment[prefix]?.[site];
  if (edge === undefined) return '–';
  if (edge === 'unauthorised') return html`<span class="quiet">not allowed</span>`;
  if (edge === null) return html`<span class="status critical">${icon('critical')}nobody</span>`;
  const all = destinations(prefix, site, topology, edges);
  if (all.length === 1) return all[0].edge;
  return all.map((each) => html`<span class="share">${each.edge} ${percent(each.share)}</span>`);
}
