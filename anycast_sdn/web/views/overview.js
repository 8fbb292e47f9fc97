/* Overview. */

import { html } from '../template.js';
import { empty } from '../parts.js';

export const overview = {
  title: 'Overview',
  needs: () => [],
  render: () => html`<h1 class="unseen">Overview</h1><div class="card">${empty('Not made yet.')}</div>`,
};
