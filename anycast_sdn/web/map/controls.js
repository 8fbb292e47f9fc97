/* What whoever may change something can do with the thing that is selected: drain a server or an edge, let them serve
again, and set the cost of a link.  It stands below the difference that it makes, and is asked twice.
*/

import { send } from '../api.js';
import { count, number } from '../format.js';
import { linkName, serversByEdge } from '../network.js';
import { status } from '../parts.js';
import { CALLER } from '../resources.js';
import { html } from '../template.js';

function scopes(app) {
  return app.value(CALLER.path)?.scopes ?? [];
}

function mayEnrol(app, group) {
  return ['admin', 'enrol:*', `enrol:${group}`].some((scope) => scopes(app).includes(scope));
}

export function controls(app, scene, subject) {
  const memory = app.memory('controls');
  if (memory.subject?.name !== subject.name) Object.assign(memory, { asked: '', said: '' });
  Object.assign(memory, { scene, subject }); // for the actions
  const deeds = deedsOf(app, scene, subject);
  const cost = subject.kind === 'link' && scopes(app).includes('admin') && costForm(scene, subject.name);
  const said = memory.said && html`<p>${status(memory.failed ? 'critical' : 'info', memory.said)}</p>`;
  return html`${deeds.map((deed) => (memory.asked === deed.key ? confirmation(deed) : html`<p data-key="${deed.key}"><button class="button" data-action="ask" data-deed="${deed.key}">${deed.words}</button></p>`))}${cost}${said}`;
}

function confirmation({ key, words, effect }) {
  return html`<div class="confirm" data-key="${key}"><p>${effect}</p><p class="fields"><button class="button primary" data-action="do" data-deed="${key}">${words}</button>
    <button class="button" data-action="ask" data-deed="">Leave it</button></p></div>`;
}

/* [{key, words, effect, request}]: what can be done. */
function deedsOf(app, scene, { kind, name }) {
  if (kind === 'switch' && scopes(app).includes('admin')) return edgeDeeds(scene, name);
  return kind === 'server' ? serverDeeds(app, scene, name) : [];
}

function edgeDeeds({ edges }, name) {
  const edge = edges.edges.find((each) => each.name === name);
  if (!edge?.roles.includes('server edge')) return [];
  const path = `/v1/edges/${encodeURIComponent(name)}`;
  return edge.drain
    ? [{ key: `resume ${name}`, words: `Let ${name} serve again`, effect: `Servers behind ${name} take new flows again.`, request: ['POST', `${path}/resume`] }]
    : [{ key: `drain ${name}`, words: `Drain ${name}`, effect: `Servers behind ${name} take no new flows; those in progress go on.`, request: ['POST', `${path}/drain`] }];
}

function serverDeeds(app, { groups }, name) {
  const row = [...serversByEdge(groups).values()].flat().find(({ address }) => address === name);
  return (row?.enrolments ?? []).filter(({ group }) => mayEnrol(app, group)).map(({ group, state, flows }) => {
    const path = `/v1/groups/${encodeURIComponent(group)}/servers/${encodeURIComponent(name)}`;
    return state === 'active'
      ? { key: `drain ${name} ${group}`, words: `Drain it in ${group}`, effect: `${name} takes no new flows of ${group}; ${count(flows, 'flow')} in progress ${flows === 1 ? 'goes' : 'go'} on until ${flows === 1 ? 'it ends' : 'they end'}.`, request: ['POST', `${path}/drain`] }
      : { key: `resume ${name} ${group}`, words: `Let it serve ${group} again`, effect: `${name} takes new flows of ${group} again.`, request: ['PATCH', path, { state: 'active' }] };
  });
}

function costForm({ topology }, name) {
  const link = topology.links.find((each) => linkName(each) === name);
  return link && html`<form class="fields" data-form="cost" data-key="cost ${name}" data-end="${link.ends[0]}"><label>Cost <input type="number" name="cost" min="1" max="65535" required value="${link.cost}"></label>
    <button class="button">Set until the controller starts again</button></form>`;
}

export const controlActions = {
  ask: (app, { dataset: { deed } }) => Object.assign(app.memory('controls'), { asked: deed, said: '' }),
  do(app, { dataset: { deed } }) {
    const { scene, subject } = app.memory('controls');
    const wanted = deedsOf(app, scene, subject).find(({ key }) => key === deed);
    if (wanted) carryOut(app, wanted.words, ...wanted.request);
  },
  cost(app, form) {
    const value = Number(new FormData(form).get('cost'));
    const end = form.dataset.end;
    carryOut(app, `Cost ${number(value)}`, 'PATCH', `/v1/topology/links/${encodeURIComponent(end)}`, { cost: value });
  },
};

async function carryOut(app, words, ...request) {
  const memory = app.memory('controls');
  memory.asked = '';
  try {
    await send(...request);
    Object.assign(memory, { said: `${words}: done`, failed: false });
  } catch (error) {
    Object.assign(memory, { said: error.message, failed: true });
  }
  app.refresh();
  app.redraw(true);
}
