/* Sites. */

import { html } from '../template.js';
import { empty } from '../parts.js';

export const sites = {
  title: 'Sites',
  needs: () => [],
  render: () => html`<h1 class="unseen">Sites</h1><div class="card">${empty('Not made yet.')}</div>`,
};
