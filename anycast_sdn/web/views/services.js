/* Services: who serves, how much, and why not?  A card for each group, its servers in rows, the worst first.

A group with many servers shows one line until it is opened, and then so many rows: what is not well is always among them.
*/

import { html } from '../template.js';
import { clock, count, duration, number, percent } from '../format.js';
import { SPACE, bar, cell, empty, icon, status, tableHead } from '../parts.js';
import { GROUPS } from '../resources.js';
import { address } from '../router.js';
import { reveal } from './reveal.js';

const LIMIT = 0.8; // of load, where new flows begin to go elsewhere, unless the group says something else
const SHOWN = 100; // servers of a group
const FEW = 200; // servers in all, up to which every group is open
const RANK = { critical: 0, warning: 1, unknown: 2, passing: 3 };

export const services = {
  title: 'Services',
  needs: () => [GROUPS],
  render(app) {
    const groups = app.value(GROUPS.path)?.groups ?? [];
    if (!groups.length) {
      return html`<h1 class="unseen">Services</h1><div class="card">${empty('No group yet, so no service.', 'anycast-sdn group add web 198.18.0.1/32')}</div>`;
    }
    const all = groups.reduce((sum, group) => sum + group.servers.length, 0);
    const { subject } = app.route;
    reveal(app, subject, subject && (subject.kind === 'server' ? `.servers [data-server="${CSS.escape(subject.name)}"]` : `#group-${CSS.escape(subject.name)}`));
    return html`<h1 class="unseen">Services</h1><div class="stack">${groups.map((group) => card(app, group, all <= FEW))}</div>`;
  },
  actions: {
    open(app, element) {
      const { opened } = remembered(app);
      const { group } = element.dataset;
      opened.set(group, element.getAttribute('aria-expanded') !== 'true');
    },
  },
};

function remembered(app) {
  const memory = app.memory('services');
  memory.opened ??= new Map();
  return memory;
}

function card(app, group, few) {
  const { subject } = app.route;
  const { name, servers } = group;
  const asked = subject?.kind === 'server' ? servers.some((server) => server.address === subject.name) : subject?.name === name;
  const isOpen = remembered(app).opened.get(name) ?? (few || asked);
  const flows = servers.reduce((sum, server) => sum + (server.flows ?? 0), 0);
  return html`<section class="card" id="group-${name}" data-key="${name}" aria-labelledby="title-${name}">
    <div class="card-head"><h2 class="name" id="title-${name}">${name}</h2><span class="mono">${group.prefixes.join(' ')}</span><span class="quiet">affinity ${group.affinity}</span>${SPACE}${
    summary(servers)}<span class="quiet">${count(flows, 'flow')}</span>${!few && html`<button class="link" data-action="open" data-group="${name}" aria-expanded="${
    isOpen}">${isOpen ? 'Close' : count(servers.length, 'server')}</button>`}</div>${isOpen && content(app, group)}</section>`;
}

/* How many are not well; nothing when all are. */
function summary(servers) {
  return ['critical', 'warning'].map((kind) => {
    const some = servers.filter((server) => server.health?.status === kind);
    return some.length > 0 && status(kind, `${number(some.length)} of ${number(servers.length)} ${kind}`);
  });
}

function content(app, { name, servers }) {
  if (!servers.length) return empty('Nobody is enrolled.', `anycast-sdn server add ${name} ADDRESS`);
  const rows = [...servers].sort((one, other) => rank(one) - rank(other));
  const { subject } = app.route;
  const left = rows.splice(SHOWN).filter((server) => server.address === subject?.name);
  return html`<div class="scrolls"><table class="cards servers"><caption class="unseen">Servers of ${name}</caption>${
    tableHead('Server', 'Edge', 'Health', '>Weight set', 'in effect', 'Load', 'cpu / mem / net', '>Flows', 'Takes new flows?')}
    <tbody>${[...left, ...rows].map((server) => row(app, name, server))}</tbody></table></div>${
    servers.length > SHOWN && html`<p class="pad quiet small">The ${SHOWN} worst of ${number(servers.length)} are shown. All: anycast-sdn servers ${name}</p>`}`;
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
  edge_draining: 'its edge is drained', draining: 'draining', drained: 'drained', disabled: 'disabled',
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
