/* Dark or light: as the system says, until somebody chooses. */

const KEPT = 'anycast-sdn.theme';
const root = document.documentElement;

export function restore() {
  const chosen = localStorage.getItem(KEPT);
  if (chosen) root.dataset.theme = chosen;
}

export function change() {
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  localStorage.setItem(KEPT, root.dataset.theme);
}
