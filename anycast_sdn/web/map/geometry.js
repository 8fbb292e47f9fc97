/* Sizes of the map in pixels: it is drawn for the width that it has, so that its words are as large as all others.

Wide: clients left, servers right, with a row for each server beside its edge.  Upright, in narrow windows: clients
at the top, servers below the picture as a list.
*/

export const NODE_HIGH = 30;
export const ROW_HIGH = 25;
export const UPRIGHT_BELOW = 560;
const COMPACT_BELOW = 820;
const LINE = 16;
const MOST_OF_NAME = 14;

/* rows: edge → the number of rows of its servers. */
export function geometryOf(layout, rows, width, mini) {
  const upright = width < UPRIGHT_BELOW;
  const compact = width < COMPACT_BELOW;
  const columns = { upright, compact, mini, rows: compact ? 196 : 258, sites: compact ? 112 : 166, gap: compact ? 40 : 52 };
  return upright ? uprightOf(layout, width, columns) : wideOf(layout, rows, width, columns);
}

function uprightOf(layout, width, columns) {
  const nodes = [...layout.nodes.values()];
  const most = Math.max(...['client', 'server'].map((kind) => nodes.filter((node) => node.kind === kind).length), 1);
  const wide = Math.max(width, most * 76);
  const high = 430;
  const at = new Map(nodes.map((node) => [node.name, { x: 34 + node.across * (wide - 68), y: 62 + node.along * (high - 124) }]));
  for (const { name, across } of nodes.filter(({ kind }) => kind === 'server' || kind === 'client')) at.get(name).x = across * wide;
  return { ...columns, width: wide, height: high, at };
}

function wideOf(layout, rows, width, columns) {
  const nodes = [...layout.nodes.values()];
  const servers = nodes.filter(({ kind }) => kind === 'server');
  const clients = nodes.filter(({ kind }) => kind === 'client');
  const right = servers.map(({ name }) => (rows.get(name) ?? 0) * ROW_HIGH + 44);
  const left = clients.map(({ name }) => (rows.has(name) ? 120 + 2 * rows.get(name) * ROW_HIGH : 72));
  const height = Math.max(total(left), total(right), wanted(columns.mini));
  const from = columns.sites + Math.max(42, halfOf(clients) + 10);
  const gap = Math.max(columns.gap, halfOf(servers) + 10);
  const to = width - columns.rows - gap - 22;
  const at = new Map(nodes.map((node) => [node.name, { x: from + node.along * (to - from), y: 14 + node.across * (height - 28) }]));
  for (const [column, heights] of [[servers, right], [clients, left]]) {
    if (heights.some((high) => high > height / column.length)) stack(column, heights, height, at);
  }
  return { ...columns, gap, width, height, at };
}

/* What fits into the window beside all else. */
function wanted(mini) {
  return mini ? clamp(innerHeight - 618, 272, 480) : clamp(innerHeight - 236, 440, 880);
}

function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}

function total(heights) {
  return heights.reduce((sum, high) => sum + high, 0);
}

/* Edges one below the other, each as high as its rows need. */
function stack(edges, heights, height, at) {
  const spare = (height - total(heights)) / edges.length;
  let top = 0;
  edges.forEach(({ name }, index) => {
    at.get(name).y = top + (heights[index] + spare) / 2;
    top += heights[index] + spare;
  });
}

export function nodeWidth(name, isEdge) {
  return Math.max(isEdge ? 58 : 40, nodeName(name).length * 8 + 22);
}

/* A name as its node shows it: of a long one the beginning and the end, in which names differ. */
export function nodeName(name) {
  return name.length > MOST_OF_NAME ? `${name.slice(0, MOST_OF_NAME / 2)}…${name.slice(1 - MOST_OF_NAME / 2)}` : name;
}

/* Half the width of the widest of these nodes. */
function halfOf(edges) {
  return Math.max(29, ...edges.map(({ name }) => nodeWidth(name, true) / 2));
}

export function lines(x, y, count) {
  return Array.from({ length: count }, (_, index) => ({ x, y: y - 8 + index * LINE }));
}
