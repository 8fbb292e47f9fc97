/* What the counters of dropped packets mean: docs/counters.md has all of it, and what to do. */

import { COUNTERS } from '../counters.js';

export function meaningOf(counter) {
  return COUNTERS[counter] ?? COUNTERS[counter.split(':')[0]] ?? '';
}
