/* Alarms: the reasons why not all is well, from /v1/health, worst first; and the sentence that stands above everything. */

import { capitalised, listed, number } from './format.js';

const MOST = 8; // that are shown one by one
const RANK = { critical: 0, warning: 1, info: 2 };

export function sorted(health) {
  return [...(health?.reasons ?? [])].sort((one, other) => RANK[one.severity] - RANK[other.severity]);
}

/* The worst severity of some alarms; passing when there is none. */
export function worst(alarms) {
  if (!alarms.length) return 'passing';
  return alarms.some(({ severity }) => severity === 'critical') ? 'critical' : 'warning';
}

export function criticalOf(alarms) {
  return alarms.filter(({ severity }) => severity === 'critical').length;
}

/* Alarms as they are listed: when there are many, those of one code together. */
export function folded(alarms) {
  if (alarms.length <= MOST) return alarms.map((alarm) => ({ ...alarm, count: 1 }));
  return byCode(alarms).map((some) => (some.length === 1 ? { ...some[0], count: 1 } : together(some)));
}

function together(some) {
  const [{ code, severity, subject, effect }] = some;
  const since = some.map((alarm) => alarm.since).sort()[0];
  const names = [...new Set(some.map((alarm) => alarm.subject.name))];
  const more = names.length > 3 ? ` and ${number(names.length - 3)} more` : '';
  const effects = new Set(some.map((alarm) => alarm.effect));
  return {
    code, severity, since, count: some.length, subject: { ...subject, name: names[0] },
    detail: `${capitalised(ofMany(code, some.length))}: ${names.slice(0, 3).join(', ')}${more}.`,
    effect: effects.size > 1 ? `${effect} The others have effects of their own.` : effect,
  };
}

const MANY = {
  'switch.missing': 'switches have not connected', 'switch.lost': 'switches have lost the controller', 'link.down': 'links are down',
  'server.critical': 'servers are critical', 'group.unserved': 'services have no server', 'pool.low': 'pools are low',
  'pool.exhausted': 'pools are exhausted', 'range.exhausted': 'switches begin no flows', 'router.silent': 'routers do not answer', 'bgp.down': 'BGP sessions are down',
};

/* 41 servers are critical */
function ofMany(code, n) {
  return `${number(n)} ${MANY[code] ?? `alarms ${code}`}`;
}

/* {status, title, subtitle} for the whole network; facts: sentences about its parts and its services. */
export function sentence(health, facts) {
  const alarms = sorted(health);
  if (health.status === 'starting') return { status: 'unknown', title: 'The controller is starting.', subtitle: facts.parts };
  if (facts.empty && !alarms.length) {
    return { status: 'info', title: 'Nothing is enrolled yet.', subtitle: `${facts.parts} Next: anycast-sdn group add` };
  }
  if (!alarms.length) return { status: 'passing', title: 'All is well.', subtitle: `${facts.parts} ${facts.service}` };
  const said = alarms.length > 3 ? byCode(alarms) : alarms.map((alarm) => [alarm]);
  const rest = said.slice(3).flat().length + (health.more_reasons ?? 0);
  const title = capitalised(listed(said.slice(0, 3).map((some) => (some.length > 1 ? ofMany(some[0].code, some.length) : brief(some[0])))));
  return { status: worst(alarms), title: rest > 0 ? `${title}; ${number(rest)} more.` : `${title}.`, subtitle: facts.service };
}

function byCode(alarms) {
  return [...Map.groupBy(alarms, ({ code, severity }) => `${severity} ${code}`).values()];
}

/* 2 critical, 3 warning */
export function counted(alarms) {
  const critical = criticalOf(alarms);
  return [critical && `${number(critical)} critical`, alarms.length > critical && `${number(alarms.length - critical)} warning`].filter(Boolean).join(', ');
}

/* What an alarm says, without why, as a part of a sentence. */
function brief(alarm) {
  const [first] = alarm.detail.replace(/ \([^)]*\)/, '').split(/(?<!:)[:;.](?=\s|$)/);
  const group = alarm.subject.group && !first.includes(alarm.subject.group) ? ` (${alarm.subject.group})` : '';
  return lowered(first.replace(/ is \d+ % used$/, ' is running out')) + group;
}

/* A word of English in small letters; IPv4, BGP and names stay. */
function lowered(text) {
  return /^[A-Z][a-z]+\b/.test(text) && !/^(IPv|BGP|IP )/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text;
}
