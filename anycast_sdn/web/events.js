/* The events that the page has seen, the latest first; the oldest are forgotten. */

const KEPT = 2000;

export class Events {
  #latest = []; // in the order of their coming

  get all() {
    return this.#latest.toReversed();
  }

  get lastId() {
    return this.#latest.at(-1)?.id ?? 0;
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
    this.#latest.push(event);
    if (this.#latest.length > KEPT * 1.2) this.#latest = this.#latest.slice(-KEPT);
    return true;
  }

  clear() {
    this.#latest = [];
  }
}
