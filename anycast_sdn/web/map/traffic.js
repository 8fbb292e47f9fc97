/* The paths of new flows on the map: of one service from its sites, to the edges that get them, and of the shares that
these pass on to servers behind others.
*/

import { destinations, servedPrefixes, shortestPath } from '../network.js';

const MOST_PATHS = 40;

/* [{key, site, switches, share, from}]; share and from: of what the edge `from` passes on. */
export function pathsOf({ topology, edges, group, prefix, sites }) {
  const wanted = prefix ?? (group && servedPrefixes(group, topology)[0]);
  if (!wanted) return [];
  const found = new Map();
  for (const site of sites) {
    const nearest = topology.catchment[wanted]?.[site];
    if (!nearest || nearest === 'unauthorised') continue;
    add(found, { site, switches: topology.paths?.[site]?.[nearest] ?? shortestPath(topology, site, nearest), share: null, from: null });
    for (const { edge, share } of destinations(wanted, site, topology, edges)) {
      if (edge === nearest || found.has(`${nearest}-${edge}`)) continue;
      add(found, { site: `${nearest}-${edge}`, switches: shortestPath(topology, nearest, edge), share, from: nearest });
    }
  }
  return [...found.values()].slice(0, MOST_PATHS);
}

function add(found, path) {
  if (path.switches.length > 1) found.set(path.site, { key: path.site, ...path });
}

/* The path as nodes of the layout. */
export function nodesOn(path, layout) {
  const nodes = path.switches.map((name) => layout.nodeOf.get(name)).filter(Boolean);
  return nodes.filter((name, index) => name !== nodes[index - 1]);
}

/* How far each path stands aside, where it shares a stretch with another: key → pixels. */
export function asides(paths) {
  const stretches = (nodes) => nodes.slice(1).map((name, index) => [name, nodes[index]].sort().join(' '));
  const sharing = paths.filter((path) => paths.some((other) => other !== path
    && stretches(other.nodes).some((each) => stretches(path.nodes).includes(each))));
  const step = Math.min(6, 18 / Math.max(1, sharing.length));
  return new Map(sharing.map((path, index) => [path.key, (index - (sharing.length - 1) / 2) * step]));
}
