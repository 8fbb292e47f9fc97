/* Groups, with their servers as long as these are few: a page never asks for 10,000 of them.

What is always known of a group is how its servers are, in all and behind each edge (/v1/services).
*/

import { GROUPS, SERVICES } from './resources.js';

export const FEW = 300; // servers of all groups that are asked for one by one

/* Does the network have so few servers that the page may know them all?  null: that is not known yet. */
export function areFew(app) {
  const services = app.value(SERVICES.path)?.services;
  return services ? services.reduce((sum, { servers }) => sum + servers, 0) <= FEW : null;
}

/* What a view that shows groups needs. */
export function groupResources(app) {
  return areFew(app) ? [SERVICES, GROUPS] : [SERVICES];
}

/* [{name, prefixes, affinity, families, totals, servers}]; servers: null where they are too many. */
export function groupsOf(app) {
  const services = app.value(SERVICES.path)?.services ?? [];
  const known = new Map((areFew(app) && app.value(GROUPS.path)?.groups ? app.value(GROUPS.path).groups : []).map((group) => [group.name, group.servers]));
  return services.map((service) => ({
    name: service.name, prefixes: service.prefixes, affinity: service.affinity, families: service.families,
    totals: service, servers: known.get(service.name) ?? null,
  }));
}
