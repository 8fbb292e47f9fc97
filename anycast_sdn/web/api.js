/* Requests to the controller.

The token, where tokens are on, is kept for this tab alone and sent with each request.  A request that gets no answer
raises Unreachable; one that is refused raises Refused with the problem's detail (RFC 9457).
*/

const ROOT = new URL('..', import.meta.url);
const TOKEN = 'anycast-sdn.token';
const DEADLINE_MS = 4000;

export class Unreachable extends Error {}

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function setToken(token) {
  if (token) sessionStorage.setItem(TOKEN, token.trim());
  else sessionStorage.removeItem(TOKEN);
}

export function hasToken() {
  return sessionStorage.getItem(TOKEN) !== null;
}

export function url(path) {
  return new URL(path.replace(/^\//, ''), ROOT);
}

/* Raises Refused where the token has characters that no header may have: fetch() would fail as if nobody answered. */
export function headers(more = {}) {
  const token = sessionStorage.getItem(TOKEN);
  if (token && !/^[!-~]+$/.test(token)) throw new Refused(401, 'this is not a token: it has characters that no token has.');
  return token ? { Authorization: `Bearer ${token}`, ...more } : more;
}

/* The resource, and its tag; value undefined: it is as it was. */
export async function get(path, tag = null) {
  const response = await asked(path, { headers: headers(tag ? { 'If-None-Match': tag } : {}) });
  if (response.status === 304) return { value: undefined, tag };
  const value = await body(response);
  if (!response.ok) throw refusal(path, response.status, value);
  return { value, tag: response.headers.get('ETag') };
}

/* Raises as get() does. */
export async function send(method, path, value = undefined) {
  const content = value === undefined ? {} : { body: JSON.stringify(value) };
  const type = value === undefined ? {} : { 'Content-Type': 'application/json' };
  const response = await asked(path, { method, headers: headers(type), ...content });
  const answer = await body(response);
  if (!response.ok) throw refusal(path, response.status, answer);
  return answer;
}

async function asked(path, options) {
  try {
    return await fetch(url(path), { ...options, cache: 'no-store', signal: AbortSignal.timeout(DEADLINE_MS) });
  } catch (error) {
    throw new Unreachable(`${path}: no answer`, { cause: error });
  }
}

async function body(response) {
  let text;
  try {
    text = await response.text();
  } catch (error) {
    throw new Unreachable('the answer broke off', { cause: error });
  }
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

export function refusal(path, status, problem) {
  const detail = problem?.detail || 'the controller failed; its log has the reason.';
  return new Refused(status, `${path.split('?')[0]}: ${status}, ${detail}`);
}
