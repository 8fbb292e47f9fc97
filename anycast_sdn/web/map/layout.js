/* Where the switches stand, from what is declared, never from what is up: a cut changes a line, not the picture.

Each node has two coordinates from 0 to 1.  Along: client edges 0, server edges 1, core switches between them by their
distance to clients minus their distance to servers.  Across: edges in the order of their names, core switches at the
mean of their neighbours.

In large networks parts of the core are one node: those without edges, or the whole core if that is still too much.
*/

import { linkName, switchOf } from '../network.js';

const MOST_SWITCHES = 40; // that are shown one by one
const MOST_CORE = 30;
const ROUNDS = 60; // until the means have settled

let kept = { key: '', layout: null };

/* {nodes: name → {name, kind, along, across, members}, nodeOf: switch → name of its node}; kind: client, server, core
or part. */
export function layoutOf(topology, edges) {
  const roles = new Map(edges.edges.map(({ name, roles: all }) => [name, all]));
  const names = topology.switches.map(({ name }) => name);
  const declared = topology.links.filter((link) => link.declared !== false);
  const key = JSON.stringify([names.map((name) => [name, roles.get(name)]), declared.map(linkName)]);
  if (kept.key !== key) kept = { key, layout: made(names, roles, declared) };
  return kept.layout;
}

function made(names, roles, links) {
  const kindOf = (name) => kindFor(roles.get(name) ?? []);
  const ends = links.map((link) => link.ends.map(switchOf));
  const nodeOf = folding(names, kindOf, ends);
  const nodes = new Map();
  for (const name of [...names].sort(byName)) {
    const node = nodeOf.get(name);
    const kind = node === name && [...nodeOf.values()].filter((each) => each === node).length === 1 ? kindOf(name) : 'part';
    if (!nodes.has(node)) nodes.set(node, { name: node, kind, members: [], along: 0.5, across: 0.5 });
    nodes.get(node).members.push(name);
  }
  const neighbours = new Map(Array.from(nodes.keys(), (name) => [name, new Set()]));
  for (const [a, b] of ends) {
    const [from, to] = [nodeOf.get(a), nodeOf.get(b)];
    if (from === undefined || to === undefined || from === to) continue;
    neighbours.get(from).add(to);
    neighbours.get(to).add(from);
  }
  place([...nodes.values()], neighbours);
  return { nodes, nodeOf };
}

function kindFor(roles) {
  if (roles.includes('client edge')) return 'client';
  return roles.includes('server edge') ? 'server' : 'core';
}

/* ars2 before ars10 */
function byName(one, other) {
  return one.localeCompare(other, 'en', { numeric: true });
}

/* switch → the node that stands for it: itself, or the first switch of its part of the core. */
function folding(names, kindOf, ends) {
  const alone = new Map(names.map((name) => [name, name]));
  if (names.length <= MOST_SWITCHES) return alone;
  const core = names.filter((name) => kindOf(name) === 'core');
  const besideEdges = new Set(ends.flatMap(([a, b]) => [kindOf(a) !== 'core' && b, kindOf(b) !== 'core' && a]).filter(Boolean));
  const inner = core.filter((name) => !besideEdges.has(name));
  const some = parts(inner, ends);
  const left = core.length - inner.length + new Set(some.values()).size;
  return new Map([...alone, ...(left > MOST_CORE ? parts(core, ends) : some)]);
}

/* Of some switches: each → the first of those that it is connected with among them. */
function parts(names, ends) {
  const first = new Map(names.map((name) => [name, name]));
  const root = (name) => {
    let at = name;
    while (first.get(at) !== at) at = first.get(at);
    return at;
  };
  for (const [a, b] of ends) {
    if (!first.has(a) || !first.has(b)) continue;
    const [one, other] = [root(a), root(b)].sort(byName);
    first.set(other, one);
  }
  return new Map(names.map((name) => [name, root(name)]));
}

function place(nodes, neighbours) {
  const clients = nodes.filter(({ kind }) => kind === 'client');
  const servers = nodes.filter(({ kind }) => kind === 'server');
  const core = nodes.filter(({ kind }) => kind === 'core' || kind === 'part');
  const at = new Map(nodes.map((node) => [node.name, node]));
  for (const [column, along] of [[clients, 0], [servers, 1]]) {
    column.forEach((node, index) => Object.assign(node, { along, across: (index + 0.5) / column.length }));
  }
  const toClients = distances(clients, neighbours);
  const toServers = distances(servers, neighbours);
  for (const node of core) node.along = (toClients.get(node.name) ?? 0) - (toServers.get(node.name) ?? 0);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const node of core) {
      const beside = [...neighbours.get(node.name)];
      if (beside.length) node.across = beside.reduce((sum, name) => sum + at.get(name).across, 0) / beside.length;
    }
  }
  spread(core, 'along', 0.26, 0.76);
  spread(core, 'across', 0.12, 0.88);
  separate(core);
}

function distances(from, neighbours) {
  const found = new Map(from.map(({ name }) => [name, 0]));
  const queue = [...found.keys()];
  for (const name of queue) {
    for (const next of neighbours.get(name)) {
      if (found.has(next)) continue;
      found.set(next, found.get(name) + 1);
      queue.push(next);
    }
  }
  return found;
}

function spread(nodes, coordinate, from, to) {
  const values = nodes.map((node) => node[coordinate]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  for (const node of nodes) {
    node[coordinate] = high > low ? from + ((node[coordinate] - low) / (high - low)) * (to - from) : (from + to) / 2;
  }
}

/* Nodes of one column that would stand on each other share its length evenly. */
function separate(core) {
  for (const column of Map.groupBy(core, ({ along }) => along.toFixed(2)).values()) {
    const sorted = [...column].sort((one, other) => one.across - other.across || byName(one.name, other.name));
    const close = Math.min(0.6 / sorted.length, 0.08);
    if (!sorted.some((node, index) => index && node.across - sorted[index - 1].across < close)) continue;
    sorted.forEach((node, index) => { node.across = 0.06 + (0.88 * (index + 0.5)) / sorted.length; });
  }
}
