/* What is known of the thing that is selected on the map, and what would be different without it. */

import { count, duration, number, percent } from '../format.js';
import { FAMILIES, linkName, poolLasts, poolUsed, serversByEdge, shortName, WORST } from '../network.js';
import { card, empty, SPACE, status } from '../parts.js';
import { address } from '../router.js';
import { html } from '../template.js';
import { controls } from './controls.js';
import { insideOf } from './inside.js';
import { layoutOf } from './layout.js';
import { linkStatus, prefixes } from './table.js';
import { canBeLeftOut, chosen, withoutPath } from './without.js';

const MOST_ROWS = 40;

export function panel(app, scene, subject) {
  const about = (ABOUT[subject.kind] ?? ABOUT.unknown)(scene, subject.name, app);
  const close = html`${SPACE}<button class="link small" data-action="unselect">Close</button>`;
  const content = about.pairs ? html`<dl class="pairs pad">${about.pairs.filter(Boolean).map(([title, value]) => html`<dt>${title}</dt><dd>${value}</dd>`)}</dl>${about.more}` : empty('There is no such thing now.');
  return html`${card('selected', about.title, close, content)}${about.pairs && canBeLeftOut(subject) && whatIf(app, scene, subject)}`;
}

const ABOUT = {
  link: aboutLink, switch: aboutSwitch, server: aboutServer, group: aboutGroup, part: aboutPart, uplink: aboutUplink,
  unknown: (scene, name) => ({ title: name, pairs: null }),
};

function aboutLink({ topology }, name) {
  const link = topology.links.find((each) => linkName(each) === name);
  const title = `Link ${shortName(name)}`;
  if (!link) return { title, pairs: null };
  const instead = Object.entries(link.cabled_instead ?? {});
  return { title, pairs: [
    ['State', linkStatus(link)],
    ['Ports', link.ends.join(', ')],
    ['Cost', number(link.cost)],
    link.mtu && ['MTU', number(link.mtu)],
    ['Heard (LLDP)', link.confirmed ? 'at both ends' : 'not now'],
    ['Failures', number(link.failures)],
    instead.length > 0 && ['Cabled instead', instead.map(([port, other]) => `${port} with ${other}`).join(', ')],
  ] };
}

function aboutSwitch({ topology, edges }, name) {
  const known = topology.switches.find((each) => each.name === name);
  const edge = edges.edges.find((each) => each.name === name);
  const title = `Switch ${name}`;
  if (!known || !edge) return { title, pairs: null };
  return { title, pairs: [
    ['State', known.connected ? status('passing', 'connected') : status('down', 'away')],
    ['Role', edge.roles.map((role) => ROLES[role] ?? role).join(', ')],
    ['Datapath', html`<span class="mono">0x${known.dpid.toString(16)}</span>`],
    ['Rules', `${number(edge.rules.bindings + edge.rules.other)}, of which ${number(edge.rules.bindings)} of flows`],
    edge.roles.includes('client edge') && ['Flows', number(edge.bindings)],
    ...Object.entries(edge.pools).map(([family, pool]) => [`${FAMILIES[family]} pool`, poolWords(pool)]),
    edge.announces.length > 0 && ['Announces', html`<span class="mono">${prefixes(edge.announces)}</span>`],
    edge.drain && ['Drain', 'its servers take no new flows'],
    ...topology.uplinks.filter(({ port }) => port.startsWith(`${name}:`)).map(uplinkRow),
    ...topology.bgp.filter((session) => session.edge === name).map(bgpRow),
  ] };
}

const ROLES = { 'client edge': 'client edge, ARh', 'server edge': 'server edge, ARs' };

function poolWords(pool) {
  const lasts = poolLasts(pool);
  return `${percent(poolUsed(pool))} used${lasts === null ? '' : `, full in ${duration(lasts)}`}`;
}

function uplinkRow({ name }) {
  return ['Uplink', html`<button class="link" data-action="select" data-kind="uplink" data-name="${name}">${name}</button>`];
}

function bgpRow(session) {
  return [`BGP ${session.uplink}`, session.state === 'established' ? status('passing', 'established') : status('warning', session.problem || session.state)];
}

function aboutUplink({ topology }, name) {
  const uplink = topology.uplinks.find((each) => each.name === name);
  const title = `Uplink ${name}`;
  if (!uplink) return { title, pairs: null };
  return { title, pairs: [
    ['Port', uplink.port],
    ['Routers', uplink.routers.map((router) => html`<div>${status(router.reachable ? 'passing' : 'down', `${router.address} ${router.reachable ? 'answers' : 'does not answer'}`)}</div>`)],
    ['Routes', number(uplink.routes)],
    ...topology.bgp.filter((session) => session.uplink === name).map(bgpRow),
  ] };
}

function aboutServer({ groups }, name) {
  const title = `Server ${name}`;
  const row = [...serversByEdge(groups).values()].flat().find((each) => each.address === name);
  if (!row) return { title, pairs: null };
  return { title, pairs: [
    ['Behind', row.edge ?? 'no edge'],
    ...row.enrolments.map((enrolment) => [groupLink(enrolment.group), enrolmentWords(enrolment)]),
    ['Load', percent(row.load)],
    ['Flows', html`<a class="link" href="${address('flows', null, { server: name })}">${number(row.flows)}</a>`],
  ] };
}

function groupLink(group) {
  return html`<a class="link" href="${address('services', { kind: 'group', name: group })}">${group}</a>`;
}

function enrolmentWords({ state, health, flows, excluded }) {
  const kind = state === 'active' ? health?.status ?? 'unknown' : 'draining';
  const checks = (health?.checks ?? []).filter(({ output, type }) => output || type);
  return html`${status(kind, kind === 'draining' ? state : kind)}, ${count(flows, 'flow')}${checks.map((check) => html`<div class="quiet">${check.type}: ${check.output || check.status}</div>`)}${
    excluded && html`<div class="quiet">no new flows: ${excluded}</div>`}`;
}

/* The servers of a group behind an edge: NAME@EDGE. */
function aboutGroup({ groups }, name) {
  const [group, edge] = name.split('@');
  const known = groups.find((each) => each.name === group);
  if (!known) return { title: `Group ${group}`, pairs: null };
  const totals = edge ? known.totals.edges.find((each) => each.edge === edge) : known.totals;
  if (!totals) return { title: `Group ${group}`, pairs: null };
  return { title: `${group}${edge ? ` behind ${edge}` : ''}`, pairs: [
    ['Servers', number(totals.servers)],
    ...WORST.filter((state) => totals[state]).map((state) => [status(state), number(totals[state])]),
    totals.inactive > 0 && [status('draining', 'taken out'), number(totals.inactive)],
    totals.load !== null && ['Load', `${percent(totals.load)}, up to ${percent(totals.highest_load)}`],
    ['Flows', number(totals.flows)],
    ['All of them', groupLink(group)],
  ] };
}

function aboutPart(scene, name) {
  const { topology, edges } = scene;
  const node = layoutOf(topology, edges).nodes.get(name);
  if (!node) return { title: 'Part of the core', pairs: null };
  const { links, down, away } = insideOf(node, topology);
  const choice = (kind, each, words) => html`<div><button class="link" data-action="select" data-kind="${kind}" data-name="${each}">${words}</button></div>`;
  return { title: 'Part of the core', pairs: [
    ['Switches', number(node.members.length)],
    ['Links', number(links.length)],
    away.length > 0 && [status('down', 'away'), away.slice(0, MOST_ROWS).map((each) => choice('switch', each.name, each.name))],
    down.length > 0 && [status('down', 'down'), down.slice(0, MOST_ROWS).map((link) => choice('link', linkName(link), shortName(linkName(link))))],
    ['Members', html`<span class="mono">${prefixes(node.members)}</span>`],
  ] };
}

// ------------------------------------------------------------------------------ what if

function whatIf(app, scene, subject) {
  const { topology } = scene;
  const out = app.route.query.getAll('without');
  const isOut = out.includes(subject.name);
  const link = subject.kind === 'link' && topology.links.find((each) => linkName(each) === subject.name);
  if (link && !link.up) {
    return card('what-if', 'It is down already', '', html`<div class="pad stack"><p class="quiet small">The map shows the network without it.</p>${controls(app, scene, subject)}</div>`);
  }
  const title = isOut ? `Without ${out.map(shortName).join(', ')}` : `If it were gone${out.length ? ', too' : ''}`;
  const names = chosen(app);
  const path = withoutPath(names);
  const answer = app.value(path);
  const refused = app.error(path);
  const command = `anycast-sdn topology ${names.map((name) => `--without ${name}`).join(' ')}`;
  const content = answer ? html`${differenceOf(answer)}<p><button class="button" data-action="without" aria-pressed="${isOut ? 'true' : 'false'}">${isOut ? 'Put it back' : 'Show the map without it'}</button></p>`
    : html`<p class="quiet">${refused ? refused.message : 'It is being counted.'}</p>`;
  return card('what-if', title, '', html`<div class="pad stack">${content}<p class="quiet small mono">${command}</p>${controls(app, scene, subject)}</div>`);
}

function differenceOf({ difference = [], difference_totals: totals, pools = [], parts }) {
  const moves = totals?.moves ?? difference.filter(({ from, to }) => from !== to).length;
  const losing = totals?.flows_losing_server ?? difference.reduce((sum, row) => sum + row.flows_losing_server, 0);
  if (!difference.length) return html`<p>${status('passing', 'Nothing would change: no service moves, no flow loses its server.')}</p>`;
  const left = (totals?.rows_left_out ?? 0) + Math.max(0, difference.length - MOST_ROWS);
  return html`<p><b>${losing ? `${count(losing, 'flow loses its server', 'flows lose their server')}` : 'No flow loses its server'}; ${moves ? count(moves, 'catchment moves', 'catchments move') : 'no catchment moves'}.</b></p>
    <ul class="difference">${difference.slice(0, MOST_ROWS).map(differenceRow)}${left > 0 && html`<li class="quiet">${number(left)} more</li>`}</ul>${
    pools.filter(({ fills }) => fills).map(({ edge, family, free, new_connections: asked }) => html`<p>${status('warning', `${FAMILIES[family]} pool of ${edge} fills`)}: ${number(asked)} new connections, ${number(free)} free addresses.</p>`)}${
    parts.length > 1 && html`<p>${status('warning', `The network splits into ${number(parts.length)} parts.`)}</p>`}`;
}

function differenceRow({ group, prefix, prefixes: same = 1, site, from, to, flows_losing_server: losing, note }) {
  const more = same > 1 ? ` and ${number(same - 1)} more` : '';
  const target = to === null ? status('critical', 'nobody') : html`<b>${to}</b>`;
  const moves = from === to ? html`${from ?? 'nobody'}, unchanged` : html`${from ?? 'nobody'} → ${target}`;
  return html`<li data-key="${group} ${prefix} ${site}"><b>${group}</b> <span class="mono quiet">${prefix}${more}</span> from ${site}: ${moves}${note && `; ${note}`}${
    losing > 0 && html`<div>${status('warning', count(losing, 'flow loses its server', 'flows lose their server'))}</div>`}</li>`;
}
