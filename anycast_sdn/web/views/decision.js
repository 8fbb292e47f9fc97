/* The record of a flow's decision: which addresses its packets have, who there was to serve it, and why this one does. */

import { html } from '../template.js';
import { clock, number, percent } from '../format.js';
import { status, tableHead } from '../parts.js';

/* flow: a row of the list; known: /v1/flows/{edge}/{number}, undefined until it is answered; error: a refusal. */
export function decision(flow, known, error) {
  const record = known?.decision;
  return html`<div class="decision"><div>${addresses(flow, record)}<p class="small outcome">${known && outcome(flow, record)}</p></div><div>${
    record ? candidates(flow, record) : html`<p class="quiet">${why(known, error)}</p>`}</div></div>`;
}

function why(known, error) {
  if (error) return error.status === 404 ? 'This flow has ended.' : error.message;
  return known ? 'Its decision is not known: it was made before the controller started, or too long ago.' : 'Loading.';
}

function addresses(flow, record) {
  const row = (what, from, to) => html`<tr><td>${what}</td><td class="mono">${from} → ${to}</td></tr>`;
  return html`<h2>Addresses on the wire</h2><table class="inset"><tbody>${row(`H → ${flow.edge}`, flow.client, flow.service)}${
    row(record ? `first packet, to ${record.edge}` : 'first packet', flow.translated, flow.service)}${
    row('later packets', flow.translated, flow.server ?? 'not yet known')}</tbody></table>`;
}

/* Who got the first packet, who answered, and what became of the flow since. */
function outcome(flow, record) {
  const first = record && html`First packet to ${record.first_packet_to ? html`<b>${record.first_packet_to}</b>` : 'one of those with a share, by a hash in the switch'}. `;
  const again = (record?.repins ?? []).map(({ at, from, to, reason }) => html`<br>Bound anew at ${clock(at)}: ${from} → ${to ?? 'nobody yet'}, ${reason}.`);
  if (!flow.server) return html`${first}Nobody has answered yet.${again}`;
  const after = record?.first_reply_ms;
  return html`${first}<b>${record?.answered ?? flow.server}</b> answered${typeof after === 'number' && ` after ${number(after, 1)} ms`} and has the flow${
    record?.handed_over && ' (handed over)'}.${again} Validity ${number(flow.validity_s)} s.`;
}

function candidates(flow, record) {
  return html`<h2>Why this server: candidates, as last compared at ${clock(record.at)}</h2><div class="scrolls"><table class="inset">${
    tableHead('Server', 'Edge', '>Cost', 'Health', '>Load', '>Share', 'Why not')}<tbody>${
    record.candidates.map((each) => candidate(flow, each))}</tbody></table></div>`;
}

function candidate(flow, { server, edge, cost, health, load, share, why_not: reason }) {
  const has = server === flow.server;
  return html`<tr><td class="mono">${has ? html`<b>${server}</b>` : server}</td><td>${edge}</td><td class="right">${number(cost)}</td><td>${
    status(health)}</td><td class="right">${percent(load)}</td><td class="right">${percent(share)}</td><td>${has ? html`<b>has the flow</b>` : reason}</td></tr>`;
}
