/* What the page says: to screen readers, in passing, and when something is wrong. */

import { byId } from "./dom.js";

const SHOWN = 3500; // ms for which a passing message is seen
let timer = 0;
let topic = null;

/** Speaks to screen readers only. */
export function say(text) {
  byId("status").textContent = text;
}

/** Shows a message for a moment. */
export function toast(text) {
  const place = byId("toast");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => {
    place.hidden = true;
  }, SHOWN);
}

/** Shows what is wrong until it is dismissed, or `solved(about)` is called for what it is about. */
export function problem(error, about = "") {
  const text = typeof error === "string" ? error : error.message;
  topic = about;
  const place = byId("problem");
  if (place.hidden || place.firstElementChild.textContent !== text) place.firstElementChild.textContent = text;
  place.hidden = false;
}

export function solved(about) {
  if (topic === about) byId("problem").hidden = true;
}

/** Runs an action of the user: what goes wrong is said on the page. Returns what it gave, or undefined. */
export async function attempt(action, about = "action") {
  try {
    const result = await action();
    solved(about);
    return result;
  } catch (error) {
    if (error.name !== "AbortError") problem(error, about);
    return undefined;
  }
}

byId("problem").lastElementChild.addEventListener("click", () => {
  byId("problem").hidden = true;
});
