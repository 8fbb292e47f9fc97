/* Sites: how long do the addresses last, and what is dropped?  A card for each client edge. */

import { html } from '../template.js';
import { count, duration, number, percent } from '../format.js';
import { SPACE, bar, empty, gauge, sparkline, status } from '../parts.js';
import { FAMILIES, poolLasts, poolUsed } from '../network.js';
import { EDGES, HISTORY, TOPOLOGY } from '../resources.js';
import { meaningOf } from './drops.js';
import { reveal } from './reveal.js';


export const sites = {
  title: 'Sites',
  needs: () => [EDGES, HISTORY, TOPOLOGY],
  render(app) {
    const edges = (app.value(EDGES.path)?.edges ?? []).filter(({ roles }) => roles.includes('client edge'));
    const { subject } = app.route;
    reveal(app, subject, subject && `#site-${CSS.escape(subject.name)}`);
    return html`<h1 class="unseen">Sites</h1>${edges.length
      ? html`<div class="columns">${edges.map((edge) => site(app, edge))}</div>`
      : html`<div class="card">${empty('No switch of this network is a client edge.')}</div>`}`;
  },
};

function site(app, edge) {
  const { name, pools } = edge;
  const sessions = (app.value(TOPOLOGY.path)?.bgp ?? []).filter((session) => session.edge === name);
  const translated = Object.values(pools).map(({ prefix }) => prefix);
  const subnets = edge.announces.filter((prefix) => !translated.includes(prefix));
  return html`<section class="card" data-key="${name}" id="site-${name}" aria-labelledby="title-${name}">
    <div class="card-head"><h2 class="name" id="title-${name}">${name}</h2><span class="mono">${subnets.join(' ')}</span>${SPACE}<span class="quiet small">${
    count(edge.bindings, 'flow')}${edge.engine && `, engine ${edge.engine}`}${edge.pooling && `, pooling ${edge.pooling}`}</span>${!edge.connected && status('down', 'not connected')}</div>
    <div class="pad stack">${Object.entries(pools).map(([family, pool]) => poolOf(app, name, family, pool))}${
    sessions.length > 0 && html`<dl class="pairs">${sessions.map(bgp)}</dl>`}</div>${drops(edge)}</section>`;
}

function poolOf(app, edge, family, pool) {
  const used = poolUsed(pool);
  const word = FAMILIES[family];
  const isLarge = pool.size > 1e9; // none of its states could be seen in a picture, and it lasts
  const isLow = pool.level !== 'plenty';
  const lasts = poolLasts(pool);
  const full = pool.free === 0 ? 'full' : `${percent(used)} used${lasts === null ? '' : `, full in ${duration(lasts)}`}`;
  const trend = pool.trend_per_min ?? null;
  return html`<div data-key="${family}" class="pool"><div class="pool-head"><h3>${word} pool</h3>${pool.prefix && html`<span class="mono">${pool.prefix}</span>`}${SPACE}${
    isLow ? status(pool.free === 0 ? 'critical' : 'warning', full) : html`<span>${isLarge ? 'lasts' : full}</span>`}</div>${
    !isLarge && gauge(pool, `${word} pool of ${edge}, addresses in use`, isLow)}
    <div class="small quiet legend"><span>■ ${number(pool.leased)} leased</span><span>▨ ${number(pool.resting)} resting</span><span>□ ${number(pool.free)} free</span>${
    trend !== null && html`<span>${trend > 0 && '+'}${number(trend, trend % 1 ? 1 : 0)} a minute</span>`}</div>${
    !isLarge && lastHour(app, edge, family, word)}</div>`;
}

function lastHour(app, edge, family, word) {
  const history = app.value(HISTORY.path);
  const values = history?.series[`pool_used_share:${edge}:${family}`] ?? [];
  const first = values.findIndex((value) => value !== null);
  const known = values.slice(first).filter((value) => value !== null);
  if (known.length < 2) return null;
  const since = duration((values.length - first) * history.step_s);
  return html`${sparkline(values.map((value) => value === null ? null : value * 100), `${word} pool of ${edge} used, in per cent`, { full: 100 })}<div class="small quiet ends"><span>${
    since} ago: ${percent(known[0])}</span><span>100 % at the top</span><span>now: ${percent(known.at(-1))}</span></div>`;
}

function bgp({ uplink, state, neighbour, announced, learned, problem }) {
  return html`<dt>BGP ${uplink}</dt><dd>${state === 'established'
    ? html`${status('passing', 'established')} with ${neighbour}; announces ${number(announced)}, learned ${number(learned)}`
    : html`${status('warning', 'down')} ${neighbour}: ${problem}`}</dd>`;
}

function drops(edge) {
  const counted = Object.entries(edge.drops).filter(([, number]) => number).sort(([, one], [, other]) => other - one);
  const most = Math.max(1, ...counted.map(([, value]) => value));
  return html`<div class="card-head ruled"><h3>Dropped packets, by reason</h3>${SPACE}<span class="quiet small">since the switch connected</span></div>${
    counted.length ? html`<ul>${counted.map(([reason, value]) => {
      const rate = edge.drops_per_s?.[reason];
      return html`<li class="drop" data-key="${reason}"><span><span class="mono">${reason}</span><br><span class="quiet small">${meaningOf(reason)}</span></span>${
        bar(value / most)}<span class="right">${number(value)}</span><span class="right ${!rate && 'quiet'}">${
        rate ? `${number(rate, 1)} per s` : edge.drops_per_s && 'none now'}</span></li>`;
    })}</ul>` : html`<p class="pad quiet">Nothing has been dropped.</p>`}`;
}
