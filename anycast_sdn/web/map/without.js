/* The question "what if?": the parts that are left out, in the route, and the path that asks the controller. */

import { TOPOLOGY } from '../resources.js';

/* What is selected; edges are switches. */
export function subjectOf(route) {
  const { subject } = route;
  return subject?.kind === 'edge' ? { ...subject, kind: 'switch' } : subject;
}

/* Can the network be asked for without it? */
export function canBeLeftOut(subject) {
  return ['link', 'switch', 'server', 'uplink'].includes(subject?.kind);
}

export function withoutPath(names) {
  return names.length ? `${TOPOLOGY.path}?${new URLSearchParams([...new Set(names)].sort().map((name) => ['without', name]))}` : TOPOLOGY.path;
}

/* All that is left out, and what is selected. */
export function chosen(app) {
  const out = app.route.query.getAll('without');
  const subject = subjectOf(app.route);
  return canBeLeftOut(subject) ? [...new Set([...out, subject.name])] : out;
}

/* Without the subject, or with it again. */
export function toggled(app, subject) {
  const out = app.route.query.getAll('without');
  if (!canBeLeftOut(subject)) return out;
  return out.includes(subject.name) ? out.filter((name) => name !== subject.name) : [...out, subject.name];
}
