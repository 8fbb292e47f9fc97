/* Map: where does traffic go; what if this were gone?

In the route: the thing that is selected; service, site and prefix, whose paths are shown; without, the parts that the
map is shown without; table, the map as text.
*/

import { catchmentTable } from '../map/catchment.js';
import { controlActions } from '../map/controls.js';
import { move } from '../map/keys.js';
import { measuredTable, serverList } from '../map/lists.js';
import { panel } from '../map/panel.js';
import { chosenGroup, picture } from '../map/picture.js';
import { mapTable } from '../map/table.js';
import { chosen, subjectOf, toggled, withoutPath } from '../map/without.js';
import { shortName, siteNames } from '../network.js';
import { card, empty, icon, option, SPACE } from '../parts.js';
import { CALLER, EDGES, resource, TOPOLOGY } from '../resources.js';
import { groupResources, groupsOf } from '../services.js';
import { html } from '../template.js';

const ASKED_S = 10; // how often what would be different is counted again

export const map = {
  title: 'Map',
  reset: { prefix: null },

  needs(app) {
    const asked = new Set([withoutPath(app.route.query.getAll('without')), withoutPath(chosen(app))]);
    asked.delete(TOPOLOGY.path);
    return [TOPOLOGY, EDGES, CALLER, ...groupResources(app), ...Array.from(asked, (path) => resource(path, ASKED_S, TOPOLOGY.on))];
  },

  render(app) {
    const topology = app.value(TOPOLOGY.path);
    const edges = app.value(EDGES.path);
    const groups = groupsOf(app);
    if (!topology || !edges) return html`<h1 class="unseen">Map</h1><div class="card">${empty('The network is not known.')}</div>`;
    const shown = app.value(withoutPath(app.route.query.getAll('without'))) ?? topology;
    const scene = { topology, shown, edges, groups };
    return html`<h1 class="unseen">Map</h1><div class="map-view">${whole(app, scene)}<div class="stack">${side(app, scene)}</div></div>`;
  },

  drawn: (app) => picture.measure(app),

  actions: {
    select: (app, element) => app.select({ kind: element.dataset.kind, name: element.dataset.name }),
    unselect: (app) => app.select(null),
    without: (app) => toggle(app),
    'as-it-is': (app) => app.set({ without: [] }),
    table: (app) => tabulate(app),
    ...controlActions,
    pick: (app, { dataset: { group, prefix, site } }) => {
      const isPicked = app.route.query.get('prefix') === prefix && app.route.query.get('site') === site;
      app.set(isPicked ? { prefix: null, site: null } : { service: group, prefix, site });
    },
  },

  keys: {
    w: (app) => toggle(app),
    t: (app) => tabulate(app),
    Escape: (app) => {
      app.select(null);
      app.set({ without: [] });
    },
    ...move,
  },
};

function toggle(app) {
  const subject = subjectOf(app.route);
  if (subject) app.set({ without: toggled(app, subject) });
}

function tabulate(app) {
  app.set({ table: app.route.query.has('table') ? null : '1' });
}

function whole(app, scene) {
  const { query } = app.route;
  const out = query.getAll('without');
  const asTable = query.has('table') || app.printing;
  const banner = out.length > 0 && html`<div class="what-if" role="status">${icon('warning')}What if: without ${out.map(shortName).join(', ')}. This is not the network as it is.
    <button class="button" data-action="as-it-is">Back to the network as it is</button></div>`;
  return html`<section class="card" aria-labelledby="title-map"><div class="tools"><h2 id="title-map">Map of ${app.health?.network}</h2>${SPACE}${choices(app, scene)}
    <button class="button" data-action="table" aria-pressed="${asTable ? 'true' : 'false'}">Table</button></div>${banner}
    ${asTable ? mapTable(app, scene) : html`${picture.draw(app, scene)}${serverList(app, scene)}${key()}`}</section>`;
}

function choices(app, { groups, edges }) {
  const sites = siteNames(edges);
  const group = chosenGroup(app, groups)?.name;
  const site = app.route.query.get('site') ?? '';
  return groups.length > 0 && html`<label>Service <select data-setting="service">${groups.map(({ name }) => option(name, name, group))}</select></label>
    <label>From <select data-setting="site">${option('', sites.length === 2 ? 'both sites' : 'all sites', site)}${sites.map((name) => option(name, name, site))}</select></label>`;
}

const LINES = [
  ['wire', 'up; the number is its cost'],
  ['wire held', 'held back, switch away: last resort'],
  ['wire bad', '✕ down, with its reason'],
  ['way', 'path of new flows'],
  ['way passed', 'share passed on'],
];

function key() {
  return html`<div class="key" aria-hidden="true">${LINES.map(([names, words]) => html`<span><svg class="map" viewBox="0 0 30 10"><path class="${names}" stroke-width="4" d="M2 5H28"/></svg>${words}</span>`)}
    <span>above servers: the services that the edge announces</span><span>mark on load: 80 %, where spilling begins</span></div>`;
}

function side(app, scene) {
  const subject = subjectOf(app.route);
  if (subject) return panel(app, scene, subject);
  const { groups, shown, edges } = scene;
  return html`${card('catchment', 'Where traffic goes', '', groups.length
    ? html`${catchmentTable(app, groups, shown, edges, true)}<p class="pad quiet small">Choose a cell to see its path. Choose a link, switch or server to see its state and what would be different without it.</p>`
    : empty('No groups yet.', 'anycast-sdn group add'))}${measuredTable(scene)}`;
}
