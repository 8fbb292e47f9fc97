/* Is the controller there?  The one reader of the event stream, and the one that tries again.

States: connecting; live; polling, when it answers but refuses the stream (there are too many, say); lost; locked, when
it asks for a token.  After a loss it tries after 1, 2, 4, 8 and then every 15 seconds; it is live again when the
stream is open.
*/

import * as api from './api.js';
import { EventStream } from './stream.js';

const PAUSES_S = [1, 2, 4, 8, 15];
const RECENT = 200; // events that a page that was just opened shows

export class Connection {
  state = 'connecting';
  since = 0; // when it came into this state
  retryAt = 0;
  #events;
  #clock;
  #heard;
  #changed;
  #stream = null;
  #timer = null;
  #failures = 0;
  #refusal = '';

  /* heard(event): an event that is not known yet.  changed(state): another state. */
  constructor(events, clock, heard, changed) {
    this.#events = events;
    this.#clock = clock;
    this.#heard = heard;
    this.#changed = changed;
  }

  /* Why the token was refused; empty when there was none. */
  get refusal() {
    return this.#refusal;
  }

  /* Does it answer, as far as is known? */
  get answers() {
    return this.state !== 'lost' && this.state !== 'locked';
  }

  start() {
    clearTimeout(this.#timer);
    this.#stream?.close();
    this.#run();
  }

  /* A request has failed. */
  failed(error) {
    if (error.status === 401) this.#lock(error);
    else if (error instanceof api.Unreachable && this.state === 'live') this.#stream?.close();
    else if (error instanceof api.Unreachable && this.state === 'polling') this.#enter('lost');
  }

  async #run() {
    try {
      if (!this.#events.lastId) await this.#catchUp();
      this.#stream = new EventStream('/v1/events', this.#events.lastId, (event) => this.#take(event));
      await this.#stream.read(() => this.#live());
      this.#retry('lost');
    } catch (error) {
      if (error.status === 401 || error.status === 403) this.#lock(error);
      else this.#retry(error instanceof api.Refused ? 'polling' : 'lost');
    }
  }

  async #catchUp() {
    const { value } = await api.get(`/v1/events?order=newest&limit=${RECENT}`);
    for (const event of value.events.sort((one, other) => one.id - other.id)) this.#events.add(event);
  }

  #take(event) {
    if (event.type === 'missed') this.#missed(event);
    else if (this.#events.add(event)) this.#heard(event);
  }

  /* Some events are not kept any more, or the controller has begun anew (events: null). */
  #missed({ id, events }) {
    if (events === null) this.#events.clear();
    const message = events === null ? 'the controller has a new journal' : `${events} events are not known any more`;
    const at = new Date(this.#clock()).toISOString();
    this.#events.add({ id, at, type: 'events.missed', severity: 'warning', subject: null, message });
    this.#changed('missed');
  }

  #live() {
    this.#failures = 0;
    this.#enter('live');
  }

  #retry(state) {
    const pause = PAUSES_S[Math.min(this.#failures, PAUSES_S.length - 1)];
    this.#failures += 1;
    this.retryAt = this.#clock() + pause * 1000;
    this.#timer = setTimeout(() => this.#run(), pause * 1000);
    this.#enter(state);
  }

  #lock(error) {
    clearTimeout(this.#timer);
    this.#refusal = api.hasToken() ? error.message : '';
    this.#enter('locked');
    this.#stream?.close();
  }

  #enter(state) {
    if (state !== this.state) this.since = this.#clock();
    this.state = state;
    this.#changed(state);
  }
}
