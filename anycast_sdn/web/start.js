/* Starts the page.  When one of its files cannot be had, because the controller is just starting again or the machine's
network changes, the page is loaded again: half a page would be worse than none. */

const AGAIN_MS = 1000;

import('./main.js').catch((error) => {
  console.warn(error);
  document.querySelector('main').textContent = 'The controller does not answer; trying again.';
  setTimeout(() => location.reload(), AGAIN_MS);
});
