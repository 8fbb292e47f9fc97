/* Templates, and changing the page.

Text enters the page through html`…` alone, and it escapes all values: markup in a group's name or in the output of a
check appears as text.  Values stand in text or within quoted attributes.  A value may be a Safe, a list of values, or
null and false, which are nothing.

patch() makes an element's content as wanted, and touches only what differs: focus, selection, scrolling and what
somebody is typing stay.  Elements with the same data-key among their siblings are the same thing.  The page's security
policy allows no style attribute: sizes that depend on data are attributes of SVG.
*/

class Safe {
  constructor(text) {
    this.text = text;
  }
}

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function written(value) {
  if (value === null || value === undefined || value === false) return '';
  if (value instanceof Safe) return value.text;
  if (Array.isArray(value)) return value.map(written).join('');
  return String(value).replace(/[&<>"']/g, (character) => ESCAPES[character]);
}

export function html(strings, ...values) {
  let text = strings[0];
  values.forEach((value, index) => { text += written(value) + strings[index + 1]; });
  return new Safe(text);
}

/* An attribute without a value, if the condition holds. */
export function flag(name, condition) {
  return condition ? new Safe(name) : '';
}

const shown = new WeakMap(); // element → the text that it was last made from

export function patch(element, content) {
  if (shown.get(element) === content.text) return;
  shown.set(element, content.text);
  const template = document.createElement('template');
  template.innerHTML = content.text;
  const focused = document.activeElement;
  patchChildren(element, template.content);
  // Moving an element takes its focus away.
  if (focused !== document.activeElement && element.contains(focused)) focused.focus({ preventScroll: true });
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute('data-key') : null;
}

function patchChildren(parent, wanted) {
  const wantedKeys = new Set(Array.from(wanted.children, keyOf));
  const keyed = new Map();
  for (const child of [...parent.children]) {
    const key = keyOf(child);
    // What goes, goes first, so that what stays does not have to move.
    if (key !== null && !wantedKeys.has(key)) child.remove();
    else if (key !== null) keyed.set(key, child);
  }
  let present = parent.firstChild;
  for (const node of [...wanted.childNodes]) {
    const key = keyOf(node);
    const match = key === null ? present : keyed.get(key);
    if (!match || !alike(match, node)) {
      parent.insertBefore(node, present);
      continue;
    }
    if (match === present) present = present.nextSibling;
    else parent.insertBefore(match, present);
    patchNode(match, node);
  }
  while (present) {
    const next = present.nextSibling;
    present.remove();
    present = next;
  }
}

function alike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);
}

function patchNode(present, wanted) {
  if (present.nodeType !== Node.ELEMENT_NODE) {
    if (present.data !== wanted.data) present.data = wanted.data;
    return;
  }
  for (const { name } of [...present.attributes]) if (!wanted.hasAttribute(name)) present.removeAttribute(name);
  for (const { name, value } of wanted.attributes) {
    if (present.getAttribute(name) !== value) present.setAttribute(name, value);
  }
  patchChildren(present, wanted);
  patchInput(present, wanted);
}

/* What a field holds is not its attribute; the one that somebody is using is left alone. */
function patchInput(present, wanted) {
  if (present === document.activeElement) return;
  if (present.nodeName === 'INPUT' && wanted.hasAttribute('value')) present.value = wanted.getAttribute('value');
  if (present.nodeName === 'SELECT') {
    const chosen = Array.from(present.options).findIndex((option) => option.hasAttribute('selected'));
    if (chosen >= 0) present.selectedIndex = chosen;
  }
}
