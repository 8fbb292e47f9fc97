/* The page: it joins what is known (resources, events), what is asked for (route) and the views.

One stream of events; an event marks resources stale; the open view's resources are fetched when they are due
(resources.js), never in a hidden tab or while the page is paused.  Whatever changes asks for one redraw in the next
frame.
*/

import * as api from './api.js';
import { sorted } from './alarms.js';
import { Connection } from './connection.js';
import { Events } from './events.js';
import { bindKeys } from './keyboard.js';
import { CLUSTER, HEALTH, Resources } from './resources.js';
import { Route } from './router.js';
import { Shell } from './shell.js';
import * as theme from './theme.js';
import { VIEWS } from './views/index.js';

const TICK_MS = 250;
const CLOCK_MS = 1000;

class App {
  events = new Events();
  paused = false;
  route = null;
  #resources = new Resources((path) => this.#fetched(path), (error) => this.connection.failed(error));
  connection = new Connection(this.events, Date.now, (event) => this.#heard(event), (state) => this.#connected(state));
  #shell = new Shell(this, VIEWS);
  #memory = new Map();
  #drawing = false;
  #asked = false; // for the drawing that is to come
  #ahead = 0; // of the controller's clock before this machine's

  start() {
    theme.restore();
    this.#follow();
    addEventListener('hashchange', () => this.#moved());
    addEventListener('resize', () => this.redraw());
    document.addEventListener('visibilitychange', () => this.#tick());
    document.addEventListener('click', (event) => this.#clicked(event));
    document.addEventListener('input', (event) => this.#set(event));
    document.addEventListener('submit', (event) => this.#submitted(event));
    addEventListener('beforeprint', () => this.#printing(true));
    addEventListener('afterprint', () => this.#printing(false));
    bindKeys(this, VIEWS);
    setInterval(() => this.#tick(), TICK_MS);
    setInterval(() => this.redraw(), CLOCK_MS);
    this.connection.start();
    this.#tick();
  }

  get view() {
    return VIEWS[this.route.view];
  }

  /* The controller's time. */
  get now() {
    return Date.now() + this.#ahead;
  }

  get health() {
    return this.value(HEALTH.path);
  }

  get cluster() {
    return this.value(CLUSTER.path);
  }

  get alarms() {
    return sorted(this.health);
  }

  get trouble() {
    return this.#resources.trouble;
  }

  get complete() {
    return this.#resources.complete;
  }

  get printing() {
    return this.memory('page').printing ?? false;
  }

  value(path) {
    return this.#resources.value(path);
  }

  error(path) {
    return this.#resources.error(path);
  }

  /* What a view remembers that need not be in a link. */
  memory(name) {
    if (!this.#memory.has(name)) this.#memory.set(name, {});
    return this.#memory.get(name);
  }

  /* Another view or thing, which "back" leaves again. */
  go(hash) {
    if (location.hash === hash) this.#moved();
    else location.hash = hash;
  }

  /* Other settings of this view. */
  set(changes) {
    this.#replace(this.route.with(changes));
  }

  /* The thing that is looked at, in this view. */
  select(subject) {
    this.#replace(this.route.about(subject));
  }

  /* Fetches the view's resources again, as soon as they may be. */
  refresh() {
    this.#resources.markAll();
    this.#tick();
  }

  pause(paused = !this.paused) {
    this.paused = paused;
    if (!paused) this.refresh();
    this.redraw(true);
  }

  useToken(token) {
    api.setToken(token);
    this.#resources.forget();
    this.events.clear();
    this.connection.start();
    this.#tick();
  }

  /* now: even while paused, as somebody has asked for it. */
  redraw(now = false) {
    this.#asked ||= now;
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      const asked = this.#asked;
      this.#drawing = this.#asked = false;
      this.#shell.draw(asked);
    });
  }

  #tick() {
    if (!this.route) return;
    this.#resources.want([HEALTH, CLUSTER, ...this.view.needs(this)], Date.now());
    if (document.hidden || this.paused || !this.connection.answers) return;
    this.#resources.fetchDue(Date.now());
  }

  #fetched(path) {
    if (path === HEALTH.path) this.#readHealth(this.health);
    this.#tick(); // an answer may tell what else is needed
    this.redraw();
  }

  /* Its time; and when alarms come or go, everything may be different. */
  #readHealth({ now, reasons }) {
    this.#ahead = Date.parse(now) - Date.now();
    const alarms = JSON.stringify(reasons.map(({ code, subject }) => [code, subject]));
    const memory = this.memory('page');
    if (memory.alarms !== undefined && memory.alarms !== alarms) this.refresh();
    memory.alarms = alarms;
  }

  #heard(event) {
    this.#resources.mark(event.type);
    this.#shell.say(event);
    this.redraw();
  }

  #connected(state) {
    if (state !== 'lost' && state !== 'locked') this.refresh();
    this.redraw(true);
  }

  #follow() {
    this.route = Route.of(location.hash, Object.keys(VIEWS));
  }

  #moved() {
    const before = this.route.view;
    this.#follow();
    if (before !== this.route.view) {
      VIEWS[before].left?.(this);
      scrollTo(0, 0);
      this.#shell.focusContent();
    }
    this.#tick();
    this.redraw(true);
  }

  #replace(route) {
    history.replaceState(null, '', route.hash);
    this.route = route;
    this.#tick();
    this.redraw(true);
  }

  #clicked(event) {
    const element = event.target.closest('[data-action]');
    if (!element) return;
    const name = element.dataset.action;
    const act = this.#shell.actions[name] ?? this.view.actions?.[name];
    if (!act) return;
    event.preventDefault();
    act(this, element, event);
    this.redraw(true);
  }

  #set(event) {
    const { setting } = event.target.dataset;
    if (setting) this.set({ ...this.view.reset, [setting]: event.target.value.trim() || null });
  }

  #submitted(event) {
    const act = this.#shell.actions[event.target.dataset.form] ?? this.view.actions?.[event.target.dataset.form];
    if (!act) return;
    event.preventDefault();
    act(this, event.target, event);
    this.redraw(true);
  }

  #printing(printing) {
    this.memory('page').printing = printing;
    this.#shell.draw(true);
  }
}

new App().start();
