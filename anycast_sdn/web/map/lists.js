/* What stands in words beside the map: servers below an upright picture, and where flows really are. */

import { number, percent } from '../format.js';
import { FAMILIES } from '../network.js';
import { card, icon, tableHead } from '../parts.js';
import { html } from '../template.js';
import { UPRIGHT_BELOW } from './geometry.js';
import { rowsBehind } from './servers.js';
import { subjectOf } from './without.js';

/* Servers by edge, for windows in which the picture has no room for them. */
export function serverList(app, { groups }) {
  if ((app.memory('map').width ?? 0) >= UPRIGHT_BELOW) return null;
  const subject = subjectOf(app.route);
  const behind = [...rowsBehind(groups)].filter(([edge]) => edge).sort(([one], [other]) => one.localeCompare(other, 'en', { numeric: true }));
  return behind.map(([edge, rows]) => html`<div class="behind" data-key="behind ${edge}"><h3>behind ${edge}</h3>${rows.map((row) => {
    const name = row.kind === 'server' ? row.name : `${row.name}@${edge}`;
    return html`<button data-key="${name}" data-action="select" data-kind="${row.kind}" data-name="${name}" aria-pressed="${subject?.name === name ? 'true' : 'false'}">${icon(row.status)}<span>${
      row.label}</span><span class="space"></span><span class="quiet small">${row.status === 'passing' ? `load ${percent(row.load)}` : row.word}</span><span class="right">${number(row.flows)}</span></button>`;
  })}</div>`);
}

/* Where flows are pinned now, beside where new ones go. */
export function measuredTable({ topology, groups }) {
  const rows = (topology.measured ?? []).filter(({ edges }) => Object.keys(edges).length);
  if (!rows.length || !groups.length) return null;
  const shown = rows.slice(0, 40);
  return card('measured', 'Where flows are', html`<span class="quiet small">pinned now, by site</span>`, html`<div class="scrolls"><table>
    <caption class="unseen">Flows that are pinned, by service, site and edge</caption>${tableHead('Service', 'from', '>flows behind')}
    <tbody>${shown.map(({ group, family, site, edges }) => html`<tr data-key="${group} ${family} ${site}"><th scope="row"><b>${group}</b> ${FAMILIES[family]}</th><td>${site}</td><td class="right">${
      Object.entries(edges).map(([edge, flows]) => html`<span class="share">${edge} ${number(flows)}</span>`)}</td></tr>`)}</tbody></table></div>${
    rows.length > shown.length && html`<p class="pad quiet small">${number(shown.length)} of ${number(rows.length)} rows are shown.</p>`}`);
}
