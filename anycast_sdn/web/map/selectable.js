/* What can be selected on the map: a group of elements that is a button, for the pointer and for the keyboard.

One of them can be reached by Tab; the arrow keys move on from there (memory.focus).
*/

import { html } from '../template.js';

const PRESSED = html`aria-pressed="true"`;

/* names: its classes. */
export function selectable({ app, selected, out, geometry }, kind, name, label, names, content) {
  const isSelected = selected?.kind === kind && selected.name === name;
  const key = `${kind} ${name}`;
  const memory = app.memory(geometry.mini ? 'mini map' : 'map');
  memory.focus ??= key;
  const gone = out.names.has(name) || (kind === 'link' && out.links.has(name));
  return html`<g data-key="${key}" class="${names} ${gone && 'gone'} ${isSelected && 'selected'}" role="button" tabindex="${memory.focus === key ? 0 : -1}" data-action="select" data-kind="${
    kind}" data-name="${name}" aria-label="${label}" ${isSelected && PRESSED}>${content}</g>`;
}
