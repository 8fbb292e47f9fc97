/* What the answers of the controller mean for a picture of the network: pure functions of its JSON. */

export const SPILL_AT = 0.8; // selection.spill_at, unless a group says something else

export function linkName(link) {
  return link.ends.join('-');
}

export function switchOf(end) {
  return end.split(':')[0];
}

/* c2–c3 for c2:1-c3:2; other names stay. */
export function shortName(name) {
  const ends = /^([^:]+):\d+-([^:]+):\d+$/.exec(name);
  return ends ? `${ends[1]}–${ends[2]}` : name;
}

export function withRole(edges, role) {
  return (edges?.edges ?? []).filter(({ roles }) => roles.includes(role));
}

export function siteNames(edges) {
  return withRole(edges, 'client edge').map(({ name }) => name);
}

export function isLinkUp(link) {
  return link.up && link.state === 'up';
}

/* null: not known. */
export function loadOf(server) {
  return server.load?.overall ?? (typeof server.load === 'number' ? server.load : null);
}

export function poolUsed(pool) {
  return pool.size ? 1 - pool.free / pool.size : 0;
}

/* Seconds, or null; a burst of seconds means nothing to a pool with plenty. */
export function poolLasts(pool) {
  return pool.exhausted_in_s ?? (pool.level === 'plenty' ? null : pool.used_up_in_s) ?? null;
}

export const FAMILIES = { ipv4: 'IPv4', ipv6: 'IPv6' };

export function familyOf(address) {
  return address.includes(':') ? 'ipv6' : 'ipv4';
}

/* The pools of client edges, the fullest first: {edge, family, pool}. */
export function pools(edges) {
  const found = withRole(edges, 'client edge').flatMap((edge) => Object.entries(edge.pools)
    .map(([family, pool]) => ({ edge: edge.name, family, pool })));
  return found.sort((one, other) => poolUsed(other.pool) - poolUsed(one.pool));
}

/* A group's prefixes that can be served: those of a family in which it has a server. */
export function servedPrefixes(group, topology) {
  return group.prefixes.filter((prefix) => prefix in topology.catchment && group.families.includes(familyOf(prefix)));
}

/* Where the new flows of a site to a prefix go: [{edge, share}], the greatest share first; empty: nowhere.  The edge
that gets them may pass a share on to servers behind others. */
export function destinations(prefix, site, topology, edges) {
  const nearest = topology.catchment[prefix]?.[site];
  if (!nearest || nearest === 'unauthorised') return [];
  const buckets = edges?.edges.find(({ name }) => name === nearest)?.buckets?.[prefix] ?? [];
  const shares = new Map();
  for (const { edge, share } of buckets) if (edge) shares.set(edge, (shares.get(edge) ?? 0) + share);
  if (!shares.size) return [{ edge: nearest, share: 1 }];
  return Array.from(shares, ([edge, share]) => ({ edge, share })).sort((one, other) => other.share - one.share);
}

/* Rows of the catchment: {group, prefixes, sites: {site: nearest edge}}; prefixes of a group that go the same ways are
one row. */
export function catchmentRows(groups, topology) {
  return groups.flatMap((group) => {
    const alike = new Map();
    for (const prefix of servedPrefixes(group, topology)) {
      const sites = topology.catchment[prefix];
      const ways = JSON.stringify(sites) + familyOf(prefix);
      if (!alike.has(ways)) alike.set(ways, { group: group.name, prefixes: [], sites });
      alike.get(ways).prefixes.push(prefix);
    }
    return [...alike.values()];
  });
}

/* Services that nobody serves at some site: [{group, prefix, site}]. */
export function unserved(groups, topology) {
  return catchmentRows(groups, topology).flatMap(({ group, prefixes, sites }) => Object.entries(sites)
    .filter(([, edge]) => edge === null).map(([site]) => ({ group, prefix: prefixes[0], site })));
}

/* The servers behind each edge: edge → [{address, groups, enrolments, flows, load}], an address once, whatever the
number of its groups. */
export function serversByEdge(groups) {
  const edges = new Map();
  for (const group of groups) {
    for (const server of group.servers ?? []) {
      if (!edges.has(server.edge)) edges.set(server.edge, new Map());
      const known = edges.get(server.edge);
      const { address } = server;
      if (!known.has(address)) known.set(address, { address, edge: server.edge, groups: [], enrolments: [], flows: 0, load: null });
      const row = known.get(address);
      row.groups.push(group.name);
      row.enrolments.push({ group: group.name, ...server });
      row.flows += server.flows;
      row.load = loadOf(server) ?? row.load;
    }
  }
  return new Map(Array.from(edges, ([edge, rows]) => [edge, [...rows.values()]]));
}

export const WORST = ['critical', 'warning', 'unknown', 'passing'];

/* {status, word} of a server over all groups: whether it takes new flows counts before its health. */
export function standing(row) {
  const resting = row.enrolments.find(({ state }) => state !== 'active');
  const health = row.enrolments.map((each) => each.health?.status ?? 'unknown');
  const worst = WORST.find((status) => health.includes(status));
  if (worst === 'critical') return { status: worst, word: worst };
  if (resting && row.enrolments.every(({ state }) => state !== 'active')) return { status: 'draining', word: resting.state };
  return { status: worst, word: worst };
}

/* The switches on a shortest path over the links that are up; empty: there is none. */
export function shortestPath(topology, from, to) {
  const neighbours = new Map(topology.switches.map(({ name }) => [name, []]));
  for (const link of topology.links) {
    const [a, b] = link.ends.map(switchOf);
    if (!link.up || !neighbours.has(a) || !neighbours.has(b)) continue;
    neighbours.get(a).push([b, link.cost]);
    neighbours.get(b).push([a, link.cost]);
  }
  const cost = new Map([[from, 0]]);
  const before = new Map();
  const open = new Set([from]);
  while (open.size) {
    const here = [...open].reduce((best, name) => (cost.get(name) < cost.get(best) ? name : best));
    if (here === to) break;
    open.delete(here);
    for (const [next, step] of neighbours.get(here) ?? []) {
      if (cost.get(here) + step >= (cost.get(next) ?? Infinity)) continue;
      cost.set(next, cost.get(here) + step);
      before.set(next, here);
      open.add(next);
    }
  }
  if (!cost.has(to)) return [];
  const path = [to];
  while (path[0] !== from) path.unshift(before.get(path[0]));
  return path;
}
