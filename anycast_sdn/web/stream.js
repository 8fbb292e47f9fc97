/* The event stream (server-sent events), read with fetch(): EventSource cannot send a token.

It goes on after the last event that came, whatever interrupts it: none is missed and none comes twice.  A stream on
which nothing comes for SILENT_MS, not even a number that keeps it alive, is given up and opened again.  What the
controller does not know any more it says with an event "missed".
*/

import { headers, refusal, Unreachable, url } from './api.js';

const SILENT_MS = 12000; // the controller sends at least the last number every 5 seconds

export class EventStream {
  #path;
  #lastId;
  #received;
  #abort = null;

  /* received(event): an event of the controller, in order. */
  constructor(path, lastId, received) {
    this.#path = path;
    this.#lastId = lastId;
    this.#received = received;
  }

  get lastId() {
    return this.#lastId;
  }

  /* Reads until the stream ends.  opened(): the controller has accepted it.  Raises as api.get does. */
  async read(opened) {
    this.#abort = new AbortController();
    const silence = new Silence(this.#abort);
    try {
      const asked = headers({ Accept: 'text/event-stream', 'Last-Event-ID': String(this.#lastId) });
      const response = await fetch(url(this.#path), { headers: asked, cache: 'no-store', signal: this.#abort.signal });
      if (!response.ok) throw refusal(this.#path, response.status, await response.json().catch(() => null));
      opened();
      const lines = new Lines((fields) => this.#take(fields));
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        silence.broken();
        lines.add(value);
      }
    } catch (error) {
      if (error.status) throw error;
      throw new Unreachable('the event stream broke off', { cause: error });
    } finally {
      silence.end();
    }
  }

  close() {
    this.#abort?.abort();
  }

  #take(fields) {
    if (fields.data === undefined || fields.event === 'incomplete') return; // health says who does not answer
    const event = JSON.parse(fields.data);
    const id = Number(fields.id);
    // After "missed" the numbers may begin anew: the controller has another journal.
    if (fields.event !== 'missed' && id <= this.#lastId) return;
    this.#lastId = id;
    this.#received(fields.event === 'missed' ? { type: 'missed', id, ...event } : event);
  }
}

/* Lines of the stream, put together to events: fields up to an empty line. */
export class Lines {
  #rest = '';
  #fields = {};
  #complete;

  constructor(complete) {
    this.#complete = complete;
  }

  add(text) {
    const lines = (this.#rest + text).split(/\r?\n/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line === '') {
        this.#complete(this.#fields);
        this.#fields = {};
      } else if (!line.startsWith(':')) {
        const [, name, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
        this.#fields[name] = name === 'data' && this.#fields.data !== undefined ? `${this.#fields.data}\n${value}` : value;
      }
    }
  }
}

class Silence {
  #abort;
  #timer;

  constructor(abort) {
    this.#abort = abort;
    this.broken();
  }

  broken() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#abort.abort(), SILENT_MS);
  }

  end() {
    clearTimeout(this.#timer);
  }
}
