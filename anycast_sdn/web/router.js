/* The address of what is shown, in the part of the URL after #: view, thing, and settings of the view.

    #map/link/c2:1-c3:2?service=web&without=arh1

So everything that can be seen can be linked to, and the browser's "back" works.
*/

export class Route {
  /* subject: {kind, name} or null; query: URLSearchParams. */
  constructor(view, subject, query) {
    this.view = view;
    this.subject = subject;
    this.query = query;
  }

  static of(hash, views) {
    const [path, query = ''] = hash.replace(/^#/, '').split(/\?(.*)/s);
    const [view, kind, ...name] = path.split('/').map(decoded);
    const subject = kind && name.length ? { kind, name: name.join('/') } : null;
    return new Route(views.includes(view) ? view : views[0], subject, new URLSearchParams(query));
  }

  get hash() {
    return address(this.view, this.subject, this.query);
  }

  /* The same with other settings; null takes one away. */
  with(changes) {
    const query = new URLSearchParams(this.query);
    for (const [name, value] of Object.entries(changes)) {
      query.delete(name);
      for (const each of [value].flat()) if (each !== null && each !== '') query.append(name, each);
    }
    return new Route(this.view, this.subject, query);
  }

  about(subject) {
    return new Route(this.view, subject, this.query);
  }
}

export function address(view, subject = null, query = {}) {
  const path = subject ? `${view}/${encoded(subject.kind)}/${encoded(subject.name)}` : view;
  const asked = String(new URLSearchParams(query));
  return `#${path}${asked && '?'}${asked}`;
}

/* Where a thing is shown, by its kind; null: nowhere. */
const PLACES = {
  link: 'map', switch: 'map', edge: 'map', uplink: 'map', server: 'services', group: 'services', pool: 'sites', flow: 'flows',
};

export function placeOf(subject) {
  const view = subject?.name && PLACES[subject.kind];
  return view ? address(view, subject, subject.group ? { group: subject.group } : {}) : null;
}

export function viewOf(subject) {
  return PLACES[subject?.kind] ?? null;
}

function encoded(text) {
  return encodeURIComponent(text).replaceAll('%3A', ':');
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
