/* Flows. */

import { html } from '../template.js';
import { empty } from '../parts.js';

export const flows = {
  title: 'Flows',
  needs: () => [],
  render: () => html`<h1 class="unseen">Flows</h1><div class="card">${empty('Not made yet.')}</div>`,
};
