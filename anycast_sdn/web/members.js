/* Of several controllers: who is there, who leads, and whom switches obey, as the member that answers sees it.  Whoever
may change it can have a member forgotten that is lost and will not come back; that is asked twice.
*/

import { send } from './api.js';
import { count, listed, number } from './format.js';
import { card, cell, status, tableHead } from './parts.js';
import { CALLER } from './resources.js';
import { html } from './template.js';

const MOST = 8; // switches that are named

export function isClustered(app) {
  return app.cluster?.mode === 'cluster' && app.cluster.members.length > 0;
}

export function membersCard(app) {
  const { cluster } = app;
  const leads = cluster.leader === null ? status('critical', 'no member leads') : `${cluster.leader} leads`;
  const shared = cluster.shared ? ', switches are shared' : '';
  const said = app.memory('members').said;
  return card('members', 'Controllers', html`<span class="quiet small">${leads}${shared}, as ${cluster.member} sees it</span>`,
    html`<div class="scrolls"><table class="cards"><caption class="unseen">Controllers of the cluster</caption>${
      tableHead('Member', 'State', '>Obeyed by', '>Connected', 'Release')}<tbody>${cluster.members.map((member) => row(member, cluster))}${
      missing(cluster).map((name) => lost(app, name))}</tbody></table></div>${astray(cluster)}${
      said && html`<p class="pad">${status(app.memory('members').failed ? 'critical' : 'info', said)}</p>`}`, 'members');
}

function row({ name, id, leads, draining, reached, switches, release }, cluster) {
  const words = [leads && 'leads', draining && 'draining', !reached && 'not heard'].filter(Boolean).join(', ');
  const state = reached ? words || 'follows' : status('warning', words);
  const obeyed = cluster.switches.filter(({ obeys }) => obeys === name).length;
  return html`<tr class="row" data-key="${id}">${cell('Member', name)}${cell('State', state)}${cell('Obeyed by', number(obeyed), 'right')}${
    cell('Connected', number(switches.length), 'right')}${cell('Release', release)}</tr>`;
}

/* Names of members that were there, and are not. */
function missing(cluster) {
  return cluster.incomplete.filter((name) => !cluster.members.some((member) => member.name === name));
}

function lost(app, name) {
  const may = app.value(CALLER.path)?.scopes.includes('admin');
  const button = (action, words, kind = '') => html`<button class="button ${kind}" data-action="${action}" data-member="${name}">${words}</button>`;
  const isAsked = app.memory('members').asked === name;
  const question = html`<div class="confirm"><p>${name} is not missed any more, and may come back all the same.</p><p class="fields">${
    button('forget', `Forget ${name}`, 'primary')} ${button('ask-forget', 'Leave it')}</p></div>`;
  return html`<tr class="row" data-key="missing ${name}">${cell('Member', name)}${cell('State', status('warning', 'missing'))}<td colspan="3">${
    may && (isAsked ? question : button('ask-forget', `Forget ${name}`))}</td></tr>`;
}

/* Switches that obey another member than etcd names, or none that is heard. */
function astray({ switches }) {
  const found = switches.filter(({ master, obeys }) => master !== obeys);
  if (!found.length) return '';
  const named = found.slice(0, MOST).map((each) => `${each.switch} (${each.obeys ?? 'not known'}; etcd: ${each.master ?? 'none'})`);
  const more = found.length > MOST ? [count(found.length - MOST, 'other', 'others')] : [];
  return html`<p class="pad">${status('warning', 'Not obeying the member that etcd names:')} ${listed([...named, ...more])}.</p>`;
}

export const memberActions = {
  'ask-forget'(app, { dataset: { member } }) {
    const memory = app.memory('members');
    Object.assign(memory, { asked: memory.asked === member ? '' : member, said: '' });
  },
  forget: (app, { dataset: { member } }) => forget(app, member),
};

async function forget(app, name) {
  const memory = app.memory('members');
  memory.asked = '';
  try {
    await send('POST', `/v1/cluster/members/${encodeURIComponent(name)}/forget`);
    Object.assign(memory, { said: `${name} is forgotten`, failed: false });
  } catch (error) {
    Object.assign(memory, { said: error.message, failed: true });
  }
  app.refresh();
  app.redraw(true);
}
