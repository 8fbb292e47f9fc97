/* The frame around the views: header, menu, banner, what is said aloud, and the form that asks for a token. */

import { html, flag, patch } from './template.js';
import { criticalOf, worst } from './alarms.js';
import { clock, duration } from './format.js';
import { icon, skeleton, status } from './parts.js';
import { viewOf } from './router.js';
import * as theme from './theme.js';

const PATIENCE_MS = 150; // before the page shows that it is loading
const element = (selector) => document.querySelector(selector);

export class Shell {
  #app;
  #views;
  #main = element('main');
  #began = Date.now();
  #drawn = null; // the view whose content is on the page

  constructor(app, views) {
    this.#app = app;
    this.#views = views;
  }

  actions = {
    'to-content': () => this.focusContent(),
    help: () => element('#help').showModal(),
    pause: (app) => app.pause(),
    theme: () => theme.change(),
    token: (app, form) => app.useToken(new FormData(form).get('token').trim()),
  };

  focusContent() {
    this.#main.focus({ preventScroll: true });
  }

  /* Critical alarms and their end, never numbers. */
  say(event) {
    const ends = ['link.up', 'switch.connected', 'bgp.up'].includes(event.type);
    if (event.severity === 'critical' || ends) element('#aloud').textContent = `${event.severity}: ${event.message}`;
  }

  draw(asked) {
    this.#drawHeader();
    this.#drawMenu();
    this.#drawBanner();
    if (asked || !this.#waits()) this.#drawContent();
  }

  #waits() {
    if (this.#app.paused) return true;
    return this.#drawn === this.#app.route.view && (this.#app.view.waits?.(this.#main) ?? false);
  }

  #drawHeader() {
    const { connection, health, cluster, alarms, paused } = this.#app;
    patch(element('#network'), html`${health?.network && `network ${health.network}`}${memberOf(cluster)}`);
    patch(element('#state'), this.#state(connection.state, health, alarms));
    const silent = (Date.now() - connection.since) / 1000;
    const word = paused ? 'paused' : 'live';
    patch(element('#live'), connection.state === 'lost'
      ? status('warning', `no connection for ${duration(silent)}`)
      : html`<span class="small">${connection.state === 'live' ? word : connection.state} <time class="quiet">${clock(this.#app.now)} UTC</time></span>`);
    const pause = element('#pause');
    pause.setAttribute('aria-pressed', paused);
    pause.textContent = paused ? 'Go on' : 'Pause';
    document.title = `${alarms.length ? `(${alarms.length}) ` : ''}${this.#app.view.title}, anycast-sdn`;
  }

  #state(connection, health, alarms) {
    if (!health && connection !== 'lost') return html``;
    const pill = (kind, words) => html`<a href="#overview" class="pill ${kind}">${icon(kind)}<span>${words}</span></a>`;
    if (connection === 'lost') return pill('warning', 'stale');
    const critical = criticalOf(alarms);
    if (health.status === 'starting') return pill('unknown', 'starting');
    if (alarms.length) {
      const words = alarms.length === 1 ? '1 alarm' : `${alarms.length} alarms`;
      return pill(worst(alarms), html`${words}${critical > 0 && alarms.length > 1 && html`<span class="wide-only">, ${critical} critical</span>`}`);
    }
    return health.status === 'ok' ? pill('passing', 'all is well') : pill('unknown', health.status);
  }

  #drawMenu() {
    const { alarms, route } = this.#app;
    patch(element('nav'), html`${Object.entries(this.#views).map(([name, { title }]) => {
      const own = alarms.filter(({ subject }) => viewOf(subject) === name);
      return html`<a data-key="${name}" href="#${name}" ${flag('aria-current="page"', route.view === name)}>${title}${
        own.length > 0 && html`<span class="badge ${worst(own)}">${icon(worst(own))}${own.length}<span class="unseen"> alarms</span></span>`}</a>`;
    })}`);
    if (this.#drawn !== route.view) element('nav [aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' });
  }

  #drawBanner() {
    const { connection, trouble, complete } = this.#app;
    let words = '';
    if (connection.state === 'lost') {
      const wait = Math.max(0, Math.ceil((connection.retryAt - Date.now()) / 1000));
      const seen = complete ? `What you see is from ${clock(connection.since + this.#app.now - Date.now())}; switches go on forwarding. ` : '';
      words = `The controller does not answer. ${seen}Trying again in ${wait} s.`;
    } else if (trouble && connection.state !== 'locked') words = `${trouble.message} Other parts are up to date.`;
    const banner = element('#banner');
    banner.hidden = !words;
    patch(banner, html`${words}`);
  }

  #drawContent() {
    const app = this.#app;
    if (app.connection.state === 'locked') patch(this.#main, tokenForm(app.connection.refusal));
    else if (!app.complete && this.#drawn !== app.route.view) {
      if (Date.now() - this.#began < PATIENCE_MS) return;
      patch(this.#main, skeleton());
    } else {
      patch(this.#main, app.view.render(app));
      app.view.drawn?.(app);
      this.#drawn = app.route.view;
      this.#main.dataset.view = app.route.view;
      this.#began = Date.now();
      if (app.memory('page').focusSearch) this.#focusSearch();
    }
  }

  #focusSearch() {
    const field = this.#main.querySelector('input[type=search]');
    if (!field) return;
    field.focus();
    this.#app.memory('page').focusSearch = false;
  }
}

function tokenForm(refusal) {
  return html`<section class="card login" aria-labelledby="title-login"><div class="card-head"><h1 id="title-login">This controller asks for a token</h1></div>
    <form class="pad" data-form="token" autocomplete="off"><p>It is kept for this tab until it is closed. One is made on the controller's host:</p>
    <p class="mono">anycast-sdn token add NAME --scope read</p>${refusal && html`<p>${status('critical', refusal)}</p>`}
    <p class="fields"><label>Token <input type="password" name="token" required spellcheck="false" autocomplete="off"></label><button class="button primary">Open</button></p></form></section>`;
}

/* Of several controllers: which one has answered, and who leads. */
function memberOf(cluster) {
  if (cluster?.mode !== 'cluster') return '';
  const leads = cluster.leader === null ? 'no member leads' : `${cluster.leader} leads`;
  return html` <span class="quiet" id="member">${cluster.member}${cluster.leader === cluster.member ? ' (leads)' : ` (${leads})`}</span>`;
}
