/* Shortcuts of the whole page. */

import { byId, make } from "./dom.js";

const typing = (element) => element?.matches?.("input:not([type=radio]):not([type=range]):not([type=checkbox]), select, textarea");

/**
 * Runs `actions` by their names. Single letters can be switched off (`settings.singleKeys`), and are not heard while
 * the user types into a field.
 */
export class Keyboard {
  constructor({ settings, actions }) {
    Object.assign(this, { settings, actions });
    addEventListener("keydown", (event) => this.#press(event));
    byId("keys").replaceChildren(...HELP.flatMap(([keys, what]) => [make("dt", {}, keys), make("dd", {}, what)]));
    byId("help").addEventListener("click", () => byId("help-dialog").showModal());
    byId("single-keys").addEventListener("change", ({ target }) => settings.set({ singleKeys: target.checked }));
  }

  #press(event) {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const command = event.ctrlKey || event.metaKey;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const name = command ? COMMANDS[`${event.shiftKey ? "shift+" : ""}${key}`] : this.#single(event, key);
    if (!name) return;
    event.preventDefault();
    const [action, argument] = name;
    this.actions[action](argument);
  }

  #single(event, key) {
    if (event.altKey || typing(event.target) || !this.settings.singleKeys) return null;
    if (/^[1-9]$/.test(key)) return ["chooseClass", Number(key) - 1];
    return LETTERS[key];
  }
}

const COMMANDS = {
  z: ["undo"],
  "shift+z": ["redo"],
  y: ["redo"],
  s: ["save", "picture"],
  "shift+s": ["save", "labels"],
  o: ["open"],
};

const LETTERS = {
  b: ["choose", "brush"],
  e: ["choose", "eraser"],
  l: ["choose", "line"],
  r: ["choose", "rectangle"],
  p: ["choose", "polygon"],
  f: ["choose", "fill"],
  i: ["choose", "eyedropper"],
  h: ["choose", "hand"],
  x: ["swap"],
  s: ["roll"],
  c: ["focusCanvas"],
  "[": ["resize", -1],
  "]": ["resize", 1],
  "+": ["zoom", 1.5],
  "=": ["zoom", 1.5],
  "-": ["zoom", 1 / 1.5],
  0: ["fit"],
  "/": ["search"],
  "?": ["help"],
};

const HELP = [
  ["B  E  L  R", "brush, eraser, line, rectangle"],
  ["P  F  I  H", "polygon, fill, eyedropper, hand"],
  ["[  ]", "smaller, larger brush"],
  ["1 – 9", "the first classes of the list"],
  ["/", "search the classes"],
  ["X", "swap what pen and eraser paint"],
  ["S", "another seed"],
  ["C", "to the canvas"],
  ["Arrows, Shift+arrows", "on the canvas: move the cross by one pixel, by eight"],
  ["Space", "on the canvas: lower and lift the pen, set a corner"],
  ["Enter, double click", "close the polygon"],
  ["Escape, Backspace", "drop what is being drawn; the last corner"],
  ["Alt+click, right button", "take a class from the canvas; paint the eraser's class"],
  ["+  −  0, wheel", "zoom in, out, fit"],
  ["Two fingers", "zoom and pan"],
  ["Ctrl+Z, Ctrl+Shift+Z", "undo, redo"],
  ["Ctrl+S, Ctrl+Shift+S", "download the picture, the label map"],
  ["Ctrl+O", "open a label map or a Parquet file"],
];
