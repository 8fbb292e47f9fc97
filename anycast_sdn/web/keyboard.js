/* Keys: 1 to 7 open views, the rest is in the help.  Nobody who types into a field uses them. */

import * as theme from './theme.js';
import { address } from './router.js';

export function bindKeys(app, views) {
  const names = Object.keys(views);
  const help = document.getElementById('help');
  const common = {
    '/': () => find(app),
    '?': () => help.showModal(),
    d: () => theme.change(),
    p: () => app.pause(),
  };
  names.forEach((name, index) => { common[index + 1] = () => app.go(address(name)); });

  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
    if (typing(event.target)) {
      if (event.key === 'Escape') event.target.blur();
      return;
    }
    const act = app.view.keys?.[event.key] ?? common[event.key];
    if (!act || act(app, event) === false) return;
    event.preventDefault();
    app.redraw(true);
  });
}

function typing(element) {
  return /^(INPUT|SELECT|TEXTAREA)$/.test(element.nodeName);
}

/* The search field of this view, or that of the flows. */
function find(app) {
  const field = document.querySelector('main input[type=search]');
  if (field) field.focus();
  else {
    app.go(address('flows'));
    app.memory('page').focusSearch = true;
  }
}
