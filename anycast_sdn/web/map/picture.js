/* The map as SVG: links, paths of traffic, words on links, switches, sites, and servers beside their edges.

What can be selected is one group of elements with role="button"; the arrow keys move between them (keys.js), so the
map is one stop for the Tab key.
*/

import { duration, number, percent } from '../format.js';
import { FAMILIES, isLinkUp, linkName, poolLasts, poolUsed, shortName, siteNames, switchOf } from '../network.js';
import { shape } from '../parts.js';
import { html } from '../template.js';
import { geometryOf, lines, NODE_HIGH, nodeName, nodeWidth } from './geometry.js';
import { insideOf } from './inside.js';
import { layoutOf } from './layout.js';
import { selectable } from './selectable.js';
import { rowsBehind, serverRows } from './servers.js';
import { asides, nodesOn, pathsOf } from './traffic.js';
import { subjectOf } from './without.js';

const LOW_POOL = 0.8;
const MANY_PATHS = 8; // more have no word at their beginning
const HIGHEST_MINI = 700; // pixels
const MANY_LINKS = 90; // more have no costs beside them

/* The group whose paths are shown: the one that was asked for, or that with the most flows. */
export function chosenGroup(app, groups) {
  const asked = groups.find(({ name }) => name === app.route.query.get('service'));
  if (asked) return asked;
  const memory = app.memory('map');
  const kept = groups.find(({ name }) => name === memory.group);
  const group = kept ?? [...groups].sort((one, other) => other.totals.flows - one.totals.flows)[0];
  memory.group = group?.name;
  return group;
}

export const picture = {
  /* topology: the network as it is, for the layout; shown: the same, or without some parts. */
  draw(app, { topology, shown, edges, groups, mini = false }) {
    const layout = layoutOf(topology, edges);
    const behind = rowsBehind(groups);
    const blocks = new Map(Array.from(behind, ([edge, rows]) => [edge, rows.length]));
    const width = app.memory(mini ? 'mini map' : 'map').width ?? estimate();
    const geometry = geometryOf(layout, blocks, width, mini);
    if (mini && geometry.height > HIGHEST_MINI) return html`<p class="pad quiet small">The map of ${number(topology.switches.length)} switches has its own view.</p>`;
    const out = leftOut(app, mini, topology);
    const scene = { app, layout, geometry, topology, shown, edges, groups, behind, out, alarms: app.alarms, selected: mini ? null : subjectOf(app.route) };
    const paths = shownPaths(scene);
    return html`<div class="scrolls" data-map="${mini ? 'mini' : 'whole'}"><svg class="map" viewBox="0 0 ${geometry.width} ${geometry.height}" width="${geometry.width}" height="${
      geometry.height}" role="group" aria-label="Map of the network. Arrow keys move, Enter selects; Table gives the same as text.">${
      links(scene)}${pathLines(scene, paths)}${linkWords(scene)}${nodes(scene)}${sites(scene)}${!geometry.upright && serverRows(scene)}${pathWords(scene, paths)}</svg></div>`;
  },

  /* After drawing: if the place is wider or narrower than it was drawn for, it is drawn again. */
  measure(app, mini = false) {
    const width = document.querySelector(`[data-map="${mini ? 'mini' : 'whole'}"]`)?.clientWidth;
    const memory = app.memory(mini ? 'mini map' : 'map');
    if (!width || width === memory.width) return;
    memory.width = width;
    app.redraw(true);
  },
};

function estimate() {
  return Math.max(360, Math.min(1200, innerWidth - 600));
}

/* Names of parts that the map is shown without. */
function leftOut(app, mini, topology) {
  const names = new Set(mini ? [] : app.route.query.getAll('without'));
  const isOut = (link) => names.has(linkName(link)) || link.ends.map(switchOf).some((name) => names.has(name));
  return { names, links: new Set(topology.links.filter(isOut).map(linkName)) };
}

function shownPaths({ app, layout, shown, edges, groups, geometry, out }) {
  const { query } = app.route;
  const site = geometry.mini ? null : query.get('site');
  const prefix = geometry.mini ? null : query.get('prefix');
  const sitesShown = siteNames(edges).filter((name) => (!site || name === site) && !out.names.has(name));
  const group = chosenGroup(app, groups);
  const paths = pathsOf({ topology: shown, edges, group, prefix, sites: sitesShown })
    .map((path) => ({ ...path, nodes: nodesOn(path, layout), group: group?.name }));
  const aside = asides(paths);
  return paths.map((path) => ({ ...path, aside: aside.get(path.key) ?? 0 }));
}

function ends({ layout, geometry }, link) {
  const [a, b] = link.ends.map((end) => layout.nodeOf.get(switchOf(end)));
  if (a === undefined || b === undefined || a === b) return null;
  return [geometry.at.get(a), geometry.at.get(b)];
}

function links(scene) {
  return scene.topology.links.map((link) => {
    const at = ends(scene, link);
    if (!at) return null;
    const name = linkName(link);
    const line = `M${point(at[0])}L${point(at[1])}`;
    const state = isLinkUp(link) ? '' : isHeld(link) ? 'held' : 'bad';
    return selectable(scene, 'link', name, `Link ${shortName(name)}, ${link.state}, cost ${link.cost}`, 'link-line',
      html`<path class="wire ${state}" d="${line}"/><path class="reach" d="${line}"/>`);
  });
}

/* It can be used if there is nothing else. */
function isHeld(link) {
  return link.state === 'held back' || link.state === 'switch away';
}

function point({ x, y }) {
  return `${x.toFixed(1)} ${y.toFixed(1)}`;
}

function linkWords(scene) {
  const { geometry, topology, out } = scene;
  const few = topology.links.length <= MANY_LINKS;
  return topology.links.map((link) => {
    const at = ends(scene, link);
    if (!at) return null;
    const [a, b] = at;
    const name = linkName(link);
    const near = { x: a.x + (b.x - a.x) * 0.44, y: a.y + (b.y - a.y) * 0.44 };
    const word = (names, words) => html`<text data-key="word ${name}" class="halo middle ${names}" x="${near.x.toFixed(1)}" y="${(near.y + 5).toFixed(1)}">${words}</text>`;
    if (out.links.has(name)) return word('warn', 'left out');
    if (!isLinkUp(link)) return word(isHeld(link) ? 'warn strong' : 'bad strong', `${link.up ? '' : '✕ '}${link.state}`);
    if (!few || geometry.upright || (geometry.mini && link.cost === 1)) return null;
    return cost(name, link.cost, a, b);
  });
}

function cost(name, value, a, b) {
  const side = (b.x < a.x ? -13 : 13) / (Math.hypot(b.x - a.x, b.y - a.y) || 1);
  const x = (a.x + b.x) / 2 + (b.y - a.y) * side;
  const y = (a.y + b.y) / 2 - (b.x - a.x) * side + 4;
  return html`<text data-key="word ${name}" class="faint middle" x="${x.toFixed(1)}" y="${y.toFixed(1)}">${value}</text>`;
}

function pathLines({ geometry }, paths) {
  const broad = paths.length > 6 ? 3 : 5;
  return paths.map((path) => {
    const points = path.nodes.map((name) => geometry.at.get(name))
      .map(({ x, y }) => (geometry.upright ? { x: x + path.aside, y } : { x, y: y + path.aside }));
    const arrows = points.slice(1).map((to, index) => arrow(points[index], to, `${path.key} ${index}`));
    return html`<path data-key="path ${path.key}" class="way ${path.share !== null && 'passed'}" stroke-width="${path.share === null ? broad : 4}" d="M${points.map(point).join('L')}"/>${arrows}`;
  });
}

function arrow(from, to, key) {
  const long = Math.hypot(to.x - from.x, to.y - from.y);
  if (long < 60) return null;
  const share = Math.min(0.74, 1 - 46 / long);
  const at = { x: from.x + (to.x - from.x) * share, y: from.y + (to.y - from.y) * share };
  const angle = (Math.atan2(to.y - from.y, to.x - from.x) * 180) / Math.PI;
  return html`<path data-key="arrow ${key}" class="arrow" d="M-7-6L6 0L-7 6Z" transform="translate(${point(at)})rotate(${angle.toFixed(1)})"/>`;
}

function pathWords({ geometry, layout }, paths) {
  const passed = paths.filter(({ share }) => share !== null).map((path) => {
    const { x, y } = geometry.at.get(path.nodes.at(-1));
    const words = geometry.upright ? `${percent(path.share)} on to ${path.switches.at(-1)}` : `${percent(path.share)} from ${path.from}`;
    return html`<text data-key="passed ${path.key}" class="halo service ${geometry.upright ? 'middle' : 'end'}" x="${geometry.upright ? x : x + 29}" y="${geometry.upright ? y - 24 : y + 32}">${words}</text>`;
  });
  const begun = geometry.upright || paths.length > MANY_PATHS ? [] : paths.filter(({ share }) => share === null).map((path) => {
    const { x, y } = geometry.at.get(layout.nodeOf.get(path.site));
    return html`<text data-key="begun ${path.key}" class="halo service middle" x="${x}" y="${y < geometry.height / 2 ? y + 32 : y - 22}">${path.group}</text>`;
  });
  return [...passed, ...begun];
}

function nodes(scene) {
  return [...scene.layout.nodes.values()].map((node) => (node.kind === 'part' ? part(scene, node) : oneSwitch(scene, node)));
}

function oneSwitch(scene, node) {
  const { geometry, topology, alarms } = scene;
  const { x, y } = geometry.at.get(node.name);
  const isEdge = node.kind !== 'core';
  const alarm = alarms.find(({ subject }) => subject.name === node.name && ['switch', 'edge', 'pool'].includes(subject.kind));
  const isThere = topology.switches.find(({ name }) => name === node.name)?.connected;
  const role = { client: 'client edge', server: 'server edge', core: 'core' }[node.kind];
  const label = `Switch ${node.name}, ${role}, ${isThere ? 'connected' : 'away'}${alarm ? `, ${alarm.detail}` : ''}`;
  const wide = nodeWidth(node.name, isEdge);
  return selectable(scene, 'switch', node.name, label, `node ${isEdge && 'edge'} ${!isThere && 'away'}`, html`${box(x, y, wide, isEdge ? 4 : 15)}
    <text x="${x}" y="${y + 4.5}" class="middle">${nodeName(node.name)}</text>${mark(alarm?.severity ?? (isThere ? null : 'down'), x + wide / 2 - 7, y - 23)}`);
}

function box(x, y, wide, round) {
  return html`<rect class="body" x="${x - wide / 2}" y="${y - NODE_HIGH / 2}" width="${wide}" height="${NODE_HIGH}" rx="${round}"/>`;
}

function mark(status, x, y) {
  return status && html`<svg x="${x}" y="${y}" width="15" height="15" viewBox="0 0 14 14" class="icon ${status}">${shape(status)}</svg>`;
}

/* A part of the core: how many switches, and what of it is not as it should be. */
function part(scene, node) {
  const { geometry, topology } = scene;
  const { x, y } = geometry.at.get(node.name);
  const { links: inside, down, away } = insideOf(node, topology);
  const trouble = [away.length && `${number(away.length)} away`, down.length && `${number(down.length)} ${down.length === 1 ? 'link' : 'links'} down`].filter(Boolean);
  const words = `${number(node.members.length)} switches`;
  const second = trouble.join(', ') || `${number(inside.length)} links up`;
  const wide = Math.max(words.length, second.length) * 7.2 + 24;
  return selectable(scene, 'part', node.name, `Part of the core: ${words}, ${second}`, `node ${trouble.length > 0 && 'away'}`, html`
    <rect class="body" x="${x - wide / 2}" y="${y - 22}" width="${wide}" height="44" rx="15"/><text x="${x}" y="${y - 3}" class="middle">${words}</text>
    <text x="${x}" y="${y + 13}" class="middle ${trouble.length ? 'bad' : 'faint'}">${second}</text>${mark(trouble.length ? 'critical' : null, x + wide / 2 - 10, y - 29)}`);
}

function sites(scene) {
  const { geometry, edges, topology, layout } = scene;
  const beside = edges.edges.filter(({ roles }) => roles.includes('client edge')).map((edge) => {
    const at = geometry.at.get(edge.name);
    if (!at) return null;
    const used = Object.entries(edge.pools).filter(([family]) => family === 'ipv4' || !edge.pools.ipv4)
      .map(([family, pool]) => ({ family, pool, share: poolUsed(pool) }));
    return geometry.upright ? siteAbove(edge, at, used) : siteBeside(geometry, edge, at, used, uplinksOf(topology, edge.name));
  });
  const others = geometry.upright ? [] : edges.edges.filter(({ roles }) => !roles.includes('client edge'));
  return [...beside, ...others.map(({ name }) => uplinkBelow(topology, name, geometry.at.get(layout.nodeOf.get(name))))];
}

/* An uplink is well when a router answers, and its session of BGP, if it has one, is established. */
function uplinksOf({ uplinks, bgp }, edge) {
  return uplinks.filter(({ port }) => switchOf(port) === edge).map(({ name, routers }) => ({
    name, isWell: routers.some(({ reachable }) => reachable) && bgp.every((session) => session.uplink !== name || session.state === 'established'),
  }));
}

function uplinkBelow(topology, edge, at) {
  return uplinksOf(topology, edge).map(({ name, isWell }, index) => html`<text data-key="uplink ${name}" class="halo faint middle ${!isWell && 'warn'}" x="${at.x}" y="${at.y + 29 + index * 14}">uplink ${name}${!isWell && ' ✕'}</text>`);
}

function siteAbove(edge, { x, y }, used) {
  return html`<g data-key="site ${edge.name}">${used.map(({ share }) => html`<text class="faint middle ${share > LOW_POOL && 'warn'}" x="${x}" y="${y - 38}">pool ${percent(share)}</text>`)}
    <text class="faint middle" x="${x}" y="${y - 23}">${number(edge.bindings)} flows</text></g>`;
}

function siteBeside({ sites: right }, edge, { y }, used, uplinks) {
  const words = [[`${number(edge.bindings)} flows`, 'faint']];
  for (const { family, pool, share } of used) {
    const low = share > LOW_POOL;
    words.push([`${FAMILIES[family]} pool ${percent(share)}`, low ? 'faint warn' : 'faint']);
    if (low && poolLasts(pool) !== null) words.push([`full in ${duration(poolLasts(pool))}`, 'faint warn']);
  }
  for (const { name, isWell } of uplinks) words.push([`uplink ${name}${isWell ? '' : ' ✕'}`, isWell ? 'faint' : 'faint warn']);
  const places = lines(right, y + 4, words.length);
  return html`<g data-key="site ${edge.name}">${words.map(([text, names], index) => html`<text class="end ${names}" x="${places[index].x}" y="${places[index].y}">${text}</text>`)}</g>`;
}
