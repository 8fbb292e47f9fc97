/* Alarms: the reasons why not all is well, from /v1/health, worst first; and the sentence that stands above everything. */

import { capitalised, count, listed } from './format.js';

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
  const byCode = Map.groupBy(alarms, ({ code, severity }) => `${severity} ${code}`);
  return Array.from(byCode.values(), (some) => (some.length === 1 ? { ...some[0], count: 1 } : together(some)));
}

function together(some) {
  const [{ code, severity, subject }] = some;
  const since = some.map((alarm) => alarm.since).sort()[0];
  const names = some.slice(0, 3).map((alarm) => alarm.subject.name);
  const more = some.length > names.length ? ` and ${some.length - names.length} more` : '';
  return {
    code, severity, since, count: some.length, subject: { ...subject, name: names[0] },
    detail: `${capitalised(ofMany(code, some.length))}: ${names.join(', ')}${more}.`,
    effect: some[0].effect,
  };
}

function ofMany(code, n) {
  const [kind, what] = code.split('.');
  return `${count(n, kind)}: ${what ?? code}`;
}

/* {status, title, subtitle} for the whole network. */
export function sentence(health, facts) {
  const alarms = sorted(health);
  if (health.status === 'starting' && !alarms.length) {
    return { status: 'unknown', title: 'The controller is starting.', subtitle: facts.parts };
  }
  if (facts.empty && !alarms.length) {
    return { status: 'info', title: 'Nothing is enrolled yet.', subtitle: `${facts.parts} Next: anycast-sdn group add` };
  }
  if (!alarms.length) return { status: 'passing', title: 'All is well.', subtitle: `${facts.parts} ${facts.service}` };
  const rest = alarms.length - 3;
  const title = capitalised(listed(alarms.slice(0, 3).map(brief)));
  return { status: worst(alarms), title: rest > 0 ? `${title}; ${rest} more.` : `${title}.`, subtitle: facts.service };
}

/* What an alarm says, without why, as a part of a sentence. */
function brief(alarm) {
  const [first] = alarm.detail.split(/[:;.](?=\s|$)/);
  const group = alarm.subject.group && !first.includes(alarm.subject.group) ? ` (${alarm.subject.group})` : '';
  return lowered(first.replace(/ is \d+ % used$/, ' is running out')) + group;
}

/* A word of English in small letters; IPv4, BGP and names stay. */
function lowered(text) {
  return /^[A-Z][a-z]+\b/.test(text) && !/^(IPv|BGP|IP )/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text;
}
