/* Arrow keys move on the map to the nearest thing in their direction; Enter and the space bar select. */

export const move = {
  ArrowLeft: (app) => go(app, -1, 0),
  ArrowRight: (app) => go(app, 1, 0),
  ArrowUp: (app) => go(app, 0, -1),
  ArrowDown: (app) => go(app, 0, 1),
  Enter: () => press(),
  ' ': () => press(),
};

function focused() {
  return document.activeElement?.closest?.('svg.map [role=button]') ?? null;
}

/* false: the key is not ours. */
function press() {
  const here = focused();
  if (!here) return false;
  here.dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true }));
  return true;
}

function go(app, right, down) {
  const here = focused();
  if (!here) return false;
  const from = centre(here);
  let best = null;
  let least = Infinity;
  for (const there of here.closest('svg.map').querySelectorAll('[role=button]')) {
    const to = centre(there);
    const ahead = (to.x - from.x) * right + (to.y - from.y) * down;
    const aside = Math.abs((to.x - from.x) * down) + Math.abs((to.y - from.y) * right);
    if (ahead > 4 && ahead + aside * 2 < least) {
      best = there;
      least = ahead + aside * 2;
    }
  }
  if (!best) return true;
  app.memory('map').focus = best.dataset.key;
  here.setAttribute('tabindex', -1);
  best.setAttribute('tabindex', 0);
  best.focus();
  return true;
}

function centre(element) {
  const { left, top, width, height } = element.querySelector('.body, .reach').getBoundingClientRect();
  return { x: left + width / 2, y: top + height / 2 };
}
