/* What is inside a part of the core that is one node of the map: its links, and what is not as it should be. */

import { isLinkUp, switchOf } from '../network.js';

export function insideOf(node, topology) {
  const members = new Set(node.members);
  const inside = topology.links.filter((link) => link.ends.map(switchOf).every((name) => members.has(name)));
  const away = topology.switches.filter(({ name, connected }) => members.has(name) && !connected);
  return { links: inside, down: inside.filter((link) => !isLinkUp(link)), away };
}
