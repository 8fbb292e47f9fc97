/* Brings what an address of the page names into the picture: once, when it is first asked for and there. */

export function reveal(app, subject, selector) {
  const memory = app.memory('revealed');
  const name = subject && `${app.route.view} ${subject.kind} ${subject.name}`;
  if (memory.name === name) return;
  memory.name = name;
  if (!selector) return;
  requestAnimationFrame(() => document.querySelector(selector)?.scrollIntoView({ block: element.clientHeight > innerHeight ? 'start' : 'center' }));
}
