/* What the counters of dropped packets mean: docs/counters.md has all of it, and what to do. */

import { COUNTERS } from '../counters.js';
import { html } from '../template.js';

/* A sentence; words between backticks are code. */
export function meaningOf(counter) {
  const text = COUNTERS[counter] ?? COUNTERS[counter.split(':')[0]] ?? '';
  return text.split('`').map((part, index) => index % 2 ? html`<code>${part}</code>` : part);
}
