/* What the page knows of the controller: one answer per path, fetched when it is due.

A view says what it needs (resource()).  Only that is fetched: at once when it is not known, after FRESH_MS at the
earliest when an event has made it stale, and otherwise every so many seconds.  What was known stays when a request
fails.
*/

import * as api from './api.js';

const FRESH_MS = 2000;
const KEPT_MS = 60000; // what no view needs any more

/* every: seconds between two requests; on: events that make it stale, by the first part of their types. */
export function resource(path, every, on = []) {
  return { path, every, on };
}

export const HEALTH = resource('/v1/health', 3, ['*']);
export const CLUSTER = resource('/v1/cluster', 10, ['member', 'leader', 'etcd', 'switch']);
export const TOPOLOGY = resource('/v1/topology', 30, ['link', 'switch', 'catchment', 'edge', 'server', 'group', 'bgp']);
export const EDGES = resource('/v1/edges?hosts=none', 5, ['switch', 'pool', 'edge']);
export const CALLER = resource('/v1/caller', 600);
export const SERVICES = resource('/v1/services', 5, ['server', 'group']);
export const GROUPS = resource('/v1/groups', 5, ['server', 'group']);
export const HISTORY = resource('/v1/history?last_s=3600&step_s=30', 10);

export class Resources {
  #known = new Map(); // path → Known
  #wanted = [];
  #changed;
  #failed;

  /* changed(path): there is something new to show.  failed(error): Unreachable, or a refusal of this token. */
  constructor(changed, failed) {
    this.#changed = changed;
    this.#failed = failed;
  }

  /* The value, or undefined when it is not known yet. */
  value(path) {
    return this.#known.get(path)?.value;
  }

  error(path) {
    return this.#known.get(path)?.error ?? null;
  }

  /* The first refusal of what is wanted, or null. */
  get trouble() {
    return this.#wanted.map(({ path }) => this.error(path)).find(Boolean) ?? null;
  }

  /* Has all that is wanted been answered? */
  get complete() {
    return this.#wanted.every(({ path }) => this.value(path) !== undefined || this.error(path));
  }

  want(resources, now) {
    this.#wanted = resources;
    for (const { path } of resources) {
      if (!this.#known.has(path)) this.#known.set(path, new Known());
      this.#known.get(path).wantedAt = now;
    }
    for (const [path, known] of this.#known) if (now - known.wantedAt > KEPT_MS) this.#known.delete(path);
  }

  /* An event of this type has come. */
  mark(type) {
    const family = type.split('.')[0];
    for (const { path, on } of this.#wanted) {
      if (on.includes(family) || on.includes('*')) this.#known.get(path).stale = true;
    }
  }

  markAll() {
    for (const known of this.#known.values()) known.stale = true;
  }

  /* Everything is forgotten: another token may show something else. */
  forget() {
    this.#known.clear();
  }

  fetchDue(now) {
    for (const { path, every } of this.#wanted) {
      const known = this.#known.get(path);
      if (known && known.isDue(now, every)) this.#fetch(path, known, now);
    }
  }

  async #fetch(path, known, now) {
    known.begin(now);
    try {
      const { value, tag } = await api.get(path, known.tag);
      const news = value !== undefined || known.error !== null;
      known.answered(value, tag);
      if (news) this.#changed(path);
    } catch (error) {
      known.failed(error);
      this.#failed(error);
    }
  }
}

class Known {
  value = undefined;
  tag = null;
  error = null;
  stale = true;
  wantedAt = 0;
  #askedAt = -Infinity;
  #asking = false;

  isDue(now, every) {
    const age = now - this.#askedAt;
    return !this.#asking && age >= (this.stale ? FRESH_MS : every * 1000);
  }

  begin(now) {
    this.#askedAt = now;
    this.#asking = true;
    this.stale = false;
  }

  answered(value, tag) {
    this.#asking = false;
    this.error = null;
    this.tag = tag;
    if (value !== undefined) this.value = value;
  }

  failed(error) {
    this.#asking = false;
    this.stale = true;
    this.error = error instanceof api.Refused ? error : null;
  }
}
