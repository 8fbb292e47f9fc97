/* The map as tables: links, switches and paths; also what is printed. */

import { number } from '../format.js';
import { linkName, switchOf } from '../network.js';
import { cell, status, tableHead } from '../parts.js';
import { html } from '../template.js';

const MOST = 300; // rows of a table

export function mapTable(app, { topology, shown, edges }) {
  const out = app.route.query.getAll('without');
  return html`<div class="scrolls">${links(topology, out)}${switches(topology, shown, edges, out)}${paths(shown)}</div>`;
}

function links({ links: all }, out) {
  return html`<table class="cards"><caption class="unseen">Links</caption>${tableHead('Link', 'State', '>Cost', 'Heard', '>Failures')}<tbody>${all.slice(0, MOST).map((link) => {
    const name = linkName(link);
    return html`<tr class="row" data-key="${name}"><th scope="row" class="full"><button class="link mono" data-action="select" data-kind="link" data-name="${name}">${link.ends.join(' – ')}</button></th>
      ${cell('State', linkStatus(link, out))}${cell('Cost', link.cost, 'right')}${cell('Heard', link.confirmed ? 'both ends' : 'no', 'wide-cell')}${cell('Failures', number(link.failures), 'right')}</tr>`;
  })}</tbody></table>${left(all.length)}`;
}

export function linkStatus(link, out = []) {
  if (out.includes(linkName(link)) || link.ends.some((end) => out.includes(switchOf(end)))) return status('unknown', 'left out');
  if (link.up && link.state === 'up') return status('passing', 'up');
  return status(link.state === 'held back' || link.state === 'switch away' ? 'warning' : 'down', link.state);
}

function switches(topology, shown, edges, out) {
  const announced = new Map(shown.edges.map(({ name, announces }) => [name, announces]));
  const roles = new Map(edges.edges.map(({ name, roles: all }) => [name, all]));
  return html`<table class="cards"><caption class="unseen">Switches</caption>${tableHead('Switch', 'State', 'Role', 'Announces')}<tbody>${topology.switches.slice(0, MOST).map(({ name, connected }) => html`
    <tr class="row" data-key="${name}"><th scope="row"><button class="link" data-action="select" data-kind="switch" data-name="${name}">${name}</button></th>
      ${cell('State', out.includes(name) ? status('unknown', 'left out') : connected ? status('passing', 'connected') : status('down', 'away'))}${cell('Role', (roles.get(name) ?? []).join(', '))}
      <td class="full mono">${prefixes(announced.get(name) ?? [])}</td></tr>`)}</tbody></table>${left(topology.switches.length)}`;
}

/* The first of many. */
export function prefixes(all) {
  return `${all.slice(0, 12).join(' ')}${all.length > 12 ? ` and ${number(all.length - 12)} more` : ''}`;
}

function paths({ paths: all }) {
  const rows = Object.entries(all ?? {}).flatMap(([site, edges]) => Object.entries(edges).map(([edge, path]) => ({ site, edge, path })));
  return html`<table class="cards"><caption class="unseen">Paths</caption>${tableHead('From', 'To', 'Path now')}<tbody>${rows.slice(0, MOST).map(({ site, edge, path }) => html`
    <tr data-key="${site} ${edge}">${cell('From', site)}${cell('To', edge)}<td class="full">${path.join(' → ')}</td></tr>`)}</tbody></table>${left(rows.length)}`;
}

function left(n) {
  return n > MOST && html`<p class="pad quiet small">${number(MOST)} of ${number(n)} are shown.</p>`;
}
