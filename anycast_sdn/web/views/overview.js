/* Overview: is all well; if not, what, where, and does service go on? */

import { counted, folded, sentence } from '../alarms.js';
import { clock, count, duration, number, listed } from '../format.js';
import { catchmentTable } from '../map/catchment.js';
import { chosenGroup, picture } from '../map/picture.js';
import { FAMILIES, isLinkUp, pools, siteNames, unserved } from '../network.js';
import { isClustered, memberActions, membersCard } from '../members.js';
import { card, empty, eventRow, icon, linkTo, SPACE, sparkline } from '../parts.js';
import { CALLER, EDGES, HISTORY, TOPOLOGY } from '../resources.js';
import { groupResources, groupsOf } from '../services.js';
import { html } from '../template.js';

const LATEST = 25; // events
const NEW_MS = 4000;

export const overview = {
  title: 'Overview',
  needs: (app) => [TOPOLOGY, EDGES, HISTORY, ...(isClustered(app) ? [CALLER] : []), ...groupResources(app)],
  actions: memberActions,

  render(app) {
    const groups = groupsOf(app);
    const { status, title, subtitle } = sentence(app.health ?? { status: 'starting' }, facts(app, groups));
    return html`<div class="verdict">${icon(status)}<div><h1>${title}</h1><p>${subtitle}</p></div></div>
      <div class="overview">${alarms(app)}${numbers(app)}${traffic(app, groups)}${events(app)}${isClustered(app) && membersCard(app)}</div>`;
  },

  drawn: (app) => picture.measure(app, true),
};

/* Sentences about the whole, for those that the alarms do not say. */
function facts(app, groups) {
  const topology = app.value(TOPOLOGY.path);
  const edges = app.value(EDGES.path);
  const parts = topology ? `${connected(topology)}, ${up(topology)}${enrolments(groups)}.` : '';
  return { parts, empty: !groups.some(({ totals }) => totals.servers), service: topology ? service(groups, topology, edges) : '' };
}

function connected({ switches }) {
  const there = switches.filter((each) => each.connected).length;
  return there === switches.length ? `${count(there, 'switch', 'switches')} connected` : `${number(there)} of ${number(switches.length)} switches connected`;
}

function up({ links }) {
  const there = links.filter(isLinkUp).length;
  return there === links.length ? `${count(there, 'link')} up` : `${number(there)} of ${number(links.length)} links up`;
}

function enrolments(groups) {
  const all = groups.reduce((sum, { totals }) => sum + totals.servers, 0);
  const passing = groups.reduce((sum, { totals }) => sum + totals.passing, 0);
  if (!all) return '';
  return passing === all ? `, ${count(passing, 'enrolment')} passing` : `, ${count(all, 'enrolment')}, of which ${number(passing)} are known to pass`;
}

function service(groups, topology, edges) {
  const without = unserved(groups, topology);
  const full = pools(edges).filter(({ pool }) => pool.size && !pool.free);
  const refused = full.map(({ edge, family }) => `${edge} has no ${FAMILIES[family]} address left for new flows`);
  if (without.length) {
    const some = without.slice(0, 3).map(({ group, prefix, site }) => `${group} (${prefix}) from ${site}`);
    const more = without.length > 3 ? ` and ${count(without.length - 3, 'more', 'more')}` : '';
    return `Without service now: ${some.join(', ')}${more}.`;
  }
  if (refused.length) return `${listed(refused)}.`;
  return groups.length ? `Service goes on: every group is served ${atSites(siteNames(edges).length)}.` : '';
}

function atSites(n) {
  return { 1: 'at its site', 2: 'at both sites' }[n] ?? `at all ${number(n)} sites`;
}

function alarms(app) {
  const all = app.alarms;
  const more = app.health?.more_reasons ?? 0;
  const rows = folded(all).map((alarm) => html`<li data-key="${alarm.code} ${alarm.subject.kind} ${alarm.subject.name} ${alarm.subject.group} ${alarm.detail.length}">${icon(alarm.severity)}
    <span><span class="unseen">${alarm.severity}: </span>${linkTo(alarm.subject, alarm.detail, `link plain ${alarm.severity}`)}</span>
    <span class="age">${duration((app.now - Date.parse(alarm.since)) / 1000)}</span><p>${alarm.effect}</p></li>`);
  const summary = html`<span class="quiet small">${counted(all)}</span>`;
  return card('alarms', 'Alarms', summary, all.length
    ? html`<ul>${rows}${more > 0 && html`<li data-key="more"><span></span><span>${number(more)} more</span></li>`}</ul>` : empty('No alarms.'), 'alarms');
}

/* The numbers of the last hour: [series, title, unit, digits, factor, value at the top]. */
const NUMBERS = [
  ['opened_per_s', 'New flows', 'per s', 0],
  ['pinned', 'Pinned flows', '', 0],
  ['first_reply_p95_ms', 'Time to first reply, p95', 'ms', 1],
  ['unanswered_share', 'First packets unanswered', '%', 2],
  ['dropped_per_s', 'Dropped packets', 'per s', 1],
];

function numbers(app) {
  const history = app.value(HISTORY.path);
  if (!history) return card('numbers', 'The last hour', '', empty('Not known.'), 'numbers');
  const marks = cuts(app, history);
  const shown = NUMBERS.map(([series, title, unit, digits]) => figure(title, unit, digits, history.series[series], marks));
  const used = pools(app.value(EDGES.path))[0];
  if (used) {
    const values = history.series[`pool_used_share:${used.edge}:${used.family}`]?.map((share) => (share === null ? null : share * 100));
    shown.push(figure(`Fullest pool: ${used.edge} ${FAMILIES[used.family]}`, '% used', 0, values, marks, 100));
  }
  const note = marks.length ? html`<span class="quiet small">dotted line: a link went down</span>` : '';
  return card('numbers', 'The last hour', note, html`<dl>${shown}</dl>`, 'numbers');
}

/* When links went down in that hour, as shares of its width. */
function cuts(app, history) {
  const end = Date.parse(history.end);
  const long = Math.max(...Object.values(history.series).map((values) => values.length), 1) * history.step_s * 1000;
  const down = app.events.last(20, ({ type }) => type === 'link.down').map(({ at }) => 1 - (end - Date.parse(at)) / long);
  return down.filter((mark) => mark > 0 && mark <= 1);
}

function figure(title, unit, digits, values, marks, full = null) {
  const known = (values ?? []).filter((value) => value !== null);
  const rounded = (values ?? []).map((value) => (value === null ? null : Number(value.toFixed(digits))));
  const range = known.length > 1
    ? html`<span>${number(Math.min(...known), digits)} to ${number(Math.max(...known), digits)}</span>` : html`<span></span>`;
  return html`<div data-key="${title}"><dt>${title}</dt><dd class="figure">${number(known.at(-1), digits)} <small>${unit}</small></dd>
    <dd class="course">${sparkline(rounded, title, { full, marks, digits })}<span class="range" aria-hidden="true"><span>−60 min</span>${range}<span>now</span></span></dd></div>`;
}

function traffic(app, groups) {
  const topology = app.value(TOPOLOGY.path);
  const edges = app.value(EDGES.path);
  const more = html`${groups.length > 0 && html`<span class="quiet small">shown: ${chosenGroup(app, groups)?.name} from ${
    siteNames(edges).length === 2 ? 'both sites' : 'all sites'}</span>`}${SPACE}<a class="link small" href="#map">Map and what-if</a>`;
  if (!topology || !edges) return card('traffic', 'Where traffic goes', more, empty('Not known.'), 'traffic');
  const table = groups.length ? catchmentTable(app, groups, topology, edges) : empty('No groups yet.', 'anycast-sdn group add');
  return card('traffic', 'Where traffic goes', more, html`<div class="mini"><div>${picture.draw(app, { topology, shown: topology, edges, groups, mini: true })}</div>${table}</div>`, 'traffic');
}

function events(app) {
  const latest = app.events.last(LATEST, ({ type }) => !type.startsWith('flow.'));
  const rows = latest.map((event) => eventRow(event, app.now - Date.parse(event.at) < NEW_MS, clock));
  return card('latest', 'Latest events', html`${SPACE}<a class="link small" href="#events">All events</a>`,
    latest.length ? html`<ul class="events" tabindex="0" aria-label="Latest events">${rows}</ul>` : empty('No events since the controller started.'), 'latest');
}
