/* The rows of servers beside their edges: one per server, or per group where there are many. */

import { count, number, percent } from '../format.js';
import { FAMILIES, familyOf, servedPrefixes, serversByEdge, SPILL_AT, standing, WORST } from '../network.js';
import { shape } from '../parts.js';
import { html } from '../template.js';
import { ROW_HIGH } from './geometry.js';
import { selectable } from './selectable.js';

const MOST_ROWS = 12; // servers of an edge that are shown one by one

/* edge → its rows: {kind: 'server' | 'group', name, label, groups, status, word, load, flows}. */
export function rowsBehind(groups) {
  const rows = new Map();
  for (const { name, totals } of groups) {
    for (const { edge, ...own } of totals.edges) if (edge) rows.set(edge, [...(rows.get(edge) ?? []), ofGroup(name, own)]);
  }
  for (const [edge, servers] of serversByEdge(groups)) if (servers.length <= MOST_ROWS && edge) rows.set(edge, servers.map(one));
  return rows;
}

function one(server) {
  return { kind: 'server', name: server.address, label: server.address, groups: server.groups, ...standing(server), load: server.load, flows: server.flows };
}

function ofGroup(name, totals) {
  const { servers, critical, flows, load } = totals;
  const status = WORST.find((each) => totals[each]) ?? 'unknown';
  const word = critical ? `${number(critical)} critical` : status;
  return { kind: 'group', name, label: `${name}: ${count(servers, 'server')}`, groups: [name], status, word, load, flows };
}

export function serverRows(scene) {
  const { layout, geometry, behind } = scene;
  const { mini, sites } = geometry;
  const nodes = [...layout.nodes.values()];
  const edges = nodes.filter(({ kind }) => kind === 'server').map(({ name }, index) => beside(scene, name, geometry.at.get(name), !index));
  // A client edge with servers of its own has them below it, where no link is.
  const narrow = { ...scene, geometry: { ...geometry, compact: true, mini, rows: sites + 66 } };
  const below = nodes.filter(({ kind, name }) => kind !== 'server' && behind.has(name)).map(({ name }) => under(narrow, name, geometry.at.get(name)));
  return [...edges, ...below];
}

function under(scene, edge, at) {
  const x = Math.max(2, at.x - scene.geometry.rows + 29);
  return html`<text data-key="announced ${edge}" class="faint" x="${x + 4}" y="${at.y + 52}">${announced(scene, edge)}</text>${
    scene.behind.get(edge).map((row, index) => serverRow(scene, edge, row, x, at.y + 60 + index * ROW_HIGH))}`;
}

function beside(scene, edge, at, isFirst) {
  const { geometry, behind } = scene;
  const rows = behind.get(edge) ?? [];
  const x = at.x + geometry.gap;
  const top = at.y - (rows.length * ROW_HIGH) / 2 + 6;
  const titles = isFirst && rows.some(({ load }) => load !== null) && !geometry.compact && html`<text data-key="title load" class="faint" x="${x + 163}" y="${top - 7}">load</text>
    <text data-key="title flows" class="faint end" x="${x + 250}" y="${top - 7}">flows</text>`;
  return html`<text data-key="announced ${edge}" class="faint" x="${x + 4}" y="${top - 7}">${announced(scene, edge)}</text>${titles}${
    rows.map((row, index) => serverRow(scene, edge, row, x, top + index * ROW_HIGH))}`;
}

/* The services that an edge announces; with the family, if it is not all of them. */
function announced({ shown, groups, geometry }, edge) {
  const own = new Set(shown.edges.find(({ name }) => name === edge)?.announces ?? []);
  const names = groups.map((group) => {
    const all = servedPrefixes(group, shown);
    const here = all.filter((prefix) => own.has(prefix));
    if (!here.length) return null;
    const families = new Set(here.map(familyOf));
    return families.size < new Set(all.map(familyOf)).size ? `${group.name} (${FAMILIES[[...families][0]]})` : group.name;
  }).filter(Boolean);
  return shortened(names.join(', ') || 'announces nothing', geometry.compact ? 30 : 24);
}

function shortened(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

function serverRow(scene, edge, row, x, y) {
  const { geometry, out } = scene;
  const wide = geometry.rows;
  const label = row.kind === 'server' ? `Server ${row.name} of ${row.groups.join(', ')}, ${row.word}, load ${percent(row.load)}, ${number(row.flows)} flows`
    : `Group ${row.label} behind ${edge}, ${row.word}, load ${percent(row.load)}, ${number(row.flows)} flows`;
  const name = row.kind === 'server' ? row.name : `${row.name}@${edge}`;
  const names = `server ${out.names.has(edge) && 'gone'}`;
  return selectable(scene, row.kind, name, label, names, html`<rect class="body" x="${x}" y="${y}" width="${wide}" height="${ROW_HIGH - 3}" rx="4"/>
    <svg x="${x + 6}" y="${y + 4}" width="14" height="14" viewBox="0 0 14 14" class="icon ${row.status}">${shape(row.status)}</svg>
    <text class="address" x="${x + 26}" y="${y + 16}">${shortened(row.label, 24)}</text>${geometry.compact ? compactEnd(row, x + wide - 8, y + 16) : wideEnd(row, x, wide, y)}`);
}

/* What stands at a row's end: what is not normal in words, otherwise load and flows. */
function compactEnd(row, right, y) {
  const flows = html`<text class="number end" x="${right}" y="${y}">${number(row.flows)}</text>`;
  if (row.status === 'critical') return html`<text class="word bad end" x="${right}" y="${y}">${row.word}</text>`;
  if (row.status === 'draining') return html`<text class="word faint end" x="${right}" y="${y}">${row.word} ${number(row.flows)}</text>`;
  if (row.load > SPILL_AT) return html`<text class="word warn end" x="${right - 36}" y="${y}">${percent(row.load)}</text>${flows}`;
  return flows;
}

function wideEnd(row, x, wide, y) {
  const flows = html`<text class="number end" x="${x + wide - 8}" y="${y + 16}">${number(row.flows)}</text>`;
  if (row.status === 'critical' && row.kind === 'server') return html`<text class="word bad end" x="${x + wide - 8}" y="${y + 16}">${row.word}</text>`;
  if (row.status === 'critical') return html`<text class="word bad end" x="${x + wide - 58}" y="${y + 16}">${row.word}</text>${flows}`;
  if (row.status === 'draining') return html`<text class="word faint end" x="${x + wide - 52}" y="${y + 16}">${row.word}</text>${flows}`;
  if (row.load === null) return flows;
  return html`${loadBar(row.load, x + 140, y + 7, 60)}${flows}`;
}

function loadBar(load, x, y, wide) {
  return html`<rect class="bar-ground" x="${x}" y="${y}" width="${wide}" height="8" rx="1"/>
    <rect class="bar-fill ${load > SPILL_AT && 'hot'}" x="${x}" y="${y}" width="${(wide * Math.min(1, load)).toFixed(1)}" height="8" rx="1"/>
    <path class="limit" d="M${(x + wide * SPILL_AT).toFixed(1)} ${y - 2}v12"/>`;
}
