/* Brings what an address of the page names into the picture: once, when it is first asked for and there. */

export function reveal(app, subject, selector) {
  const memory = app.memory('revealed');
  const name = subject && `${app.route.view} ${subject.kind} ${subject.name}`;
  if (memory.name === name) return;
  if (!selector) memory.name = name;
  else requestAnimationFrame(() => show(memory, name, document.querySelector(selector)));
}

function show(memory, name, element) {
  if (!element || memory.name === name) return;
  memory.name = name;
  element.scrollIntoView({ block: element.clientHeight > innerHeight ? 'start' : 'center' });
}
