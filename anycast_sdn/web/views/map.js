/* Map. */

import { html } from '../template.js';
import { empty } from '../parts.js';

export const map = {
  title: 'Map',
  needs: () => [],
  render: () => html`<h1 class="unseen">Map</h1><div class="card">${empty('Not made yet.')}</div>`,
};
