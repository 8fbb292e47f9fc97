/* The events that the page has seen, the latest first; the oldest are forgotten.  One of another member of a cluster may
come later than it has happened: it stands where it belongs by its time. */

const KEPT = 2000;

export class Events {
  #latest = []; // in the order of their times
  #lastId = 0;

  get all() {
    return this.#latest.toReversed();
  }

  get lastId() {
    return this.#lastId;
  }

  /* The n latest of those that are wanted. */
  last(n, wanted = () => true) {
    const found = [];
    for (let index = this.#latest.length - 1; index >= 0 && found.length < n; index -= 1) {
      if (wanted(this.#latest[index])) found.push(this.#latest[index]);
    }
    return found;
  }

  add(event) {
    if (event.id <= this.lastId) return false;
    this.#lastId = event.id;
    let place = this.#latest.length;
    while (place > 0 && this.#latest[place - 1].at > event.at) place -= 1;
    this.#latest.splice(place, 0, event);
    if (this.#latest.length > KEPT * 1.2) this.#latest = this.#latest.slice(-KEPT);
    return true;
  }

  clear() {
    this.#latest = [];
    this.#lastId = 0;
  }
}
