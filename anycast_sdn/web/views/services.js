/* Services. */

import { html } from '../template.js';
import { empty } from '../parts.js';

export const services = {
  title: 'Services',
  needs: () => [],
  render: () => html`<h1 class="unseen">Services</h1><div class="card">${empty('Not made yet.')}</div>`,
};
