/* Light or dark: as the system says, or as the user has chosen. Runs before the page is drawn. */

const KEY = "spadework-theme";
const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");

function read() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage is forbidden: the system's theme then
  }
}

/** "light" or "dark": what is shown. */
export function shownTheme() {
  return root.dataset.theme ?? (system.matches ? "dark" : "light");
}

/** Shows the other one, and keeps the choice until it is what the system says anyway. */
export function switchTheme() {
  const next = shownTheme() === "dark" ? "light" : "dark";
  const asSystem = (next === "dark") === system.matches;
  if (asSystem) delete root.dataset.theme;
  else root.dataset.theme = next;
  try {
    if (asSystem) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // Not kept, then.
  }
  return next;
}

const chosen = read();
if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
