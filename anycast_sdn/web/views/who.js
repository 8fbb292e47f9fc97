/* Who had it?. */

import { html } from '../template.js';
import { empty } from '../parts.js';

export const who = {
  title: 'Who had it?',
  needs: () => [],
  render: () => html`<h1 class="unseen">Who had it?</h1><div class="card">${empty('Not made yet.')}</div>`,
};
