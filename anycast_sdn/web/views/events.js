/* Events. */

import { html } from '../template.js';
import { empty } from '../parts.js';

export const events = {
  title: 'Events',
  needs: () => [],
  render: () => html`<h1 class="unseen">Events</h1><div class="card">${empty('Not made yet.')}</div>`,
};
