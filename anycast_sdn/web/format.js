/* Numbers and times, as they are written everywhere on the page.  Times are in UTC, as in the log. */

export function number(value, digits = 0) {
  if (value === null || value === undefined) return '–';
  if (Math.abs(value) >= 1e12) {
    const [mantissa, exponent] = value.toExponential(1).split('e+');
    return `${mantissa} × 10^${exponent}`;
  }
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function percent(share) {
  return share === null || share === undefined ? '–' : `${Math.round(share * 100)} %`;
}

export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/* 20:44:19 */
export function clock(time) {
  return new Date(time).toISOString().slice(11, 19);
}

/* 2026-11-25 20:44:19.120 */
export function timestamp(time) {
  return new Date(time).toISOString().slice(0, 23).replace('T', ' ');
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/* Words as a sentence lists them. */
export function listed(words) {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} and ${words[words.length - 1]}`;
}

export function capitalised(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
