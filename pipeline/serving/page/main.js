/* Puts the page together. */

import { readCheckpoints } from "./client.js";
import { KeyboardCursor } from "./cursor.js";
import { LabelDocument } from "./document.js";
import { byId, icon, make, setOptions } from "./dom.js";
import { Downloads } from "./downloads.js";
import { Files } from "./files.js";
import { Keyboard } from "./keyboard.js";
import { attempt, problem, say, solved, toast } from "./messages.js";
import { Palette } from "./palette.js";
import { PointerInput } from "./pointer.js";
import { Samples } from "./samples.js";
import { Session } from "./session.js";
import { Settings } from "./settings.js";
import { findThings, Start } from "./start.js";
import { Studio } from "./studio.js";
import { StylePanel } from "./styles.js";
import { shownTheme, switchTheme } from "./theme.js";
import { Pen, TOOLS } from "./tools.js";
import { drawPen, LabelLayer, Pane, Viewport } from "./view.js";

const KEEP = 2000; // steps that survive a reload

const session = await Session.open();
const settings = new Settings();
const studio = new Studio({
  problem: (error, wait) =>
    problem(wait ? `${error.message} Trying again in ${Math.round(wait / 1000)} s.` : error, "picture"),
});
const pen = new Pen(settings);
const viewport = new Viewport();
const palette = new Palette(settings);
const layer = new LabelLayer();
const styles = new StylePanel({ studio, session });
const files = new Files({ studio, takePhotograph: (file) => styles.takePhotograph(file) });
const start = new Start({ studio, settings });
const downloads = new Downloads({ studio, color: (id) => palette.color(id) });
new Samples({ studio, choose: (seed) => styles.setSeed(seed) });

// The panes, and what points into them.

let hovered = null; // {point, cross}
const labelPane = new Pane(byId("labels"), viewport, {
  layers: () => {
    const labels = { canvas: layer.canvas, smooth: false, alpha: settings.veil / 100 };
    return settings.veil < 100 && studio.picture ? [{ canvas: studio.canvas, smooth: true }, labels] : [labels];
  },
  decorate: (context, pane) => {
    const pixel = ["fill", "eyedropper", "rectangle", "polygon"].includes(settings.tool);
    const shown = settings.tool === "hand" ? null : hovered;
    drawPen(context, pane, {
      point: shown?.point,
      cross: shown?.cross,
      size: pixel ? 0 : settings.size,
      corners: pen.corners,
    });
  },
});
const picturePane = new Pane(byId("picture"), viewport, {
  layers: () => (studio.picture ? [{ canvas: studio.canvas, smooth: true }] : []),
  decorate: (context, pane) => hovered && drawPen(context, pane, { point: hovered.point, size: settings.size, corners: [] }),
});

function describe({ x, y }) {
  const { width, height, labels } = studio.document;
  const [column, row] = [Math.floor(x), Math.floor(y)];
  if (column < 0 || column >= width || row < 0 || row >= height) return "Label map";
  return `${column}, ${row}: ${palette.name(labels[row * width + column])}`;
}

function hover(point, cross = false) {
  hovered = point && { point, cross };
  byId("where").textContent = point ? describe(point) : "Label map";
  labelPane.invalidate();
  picturePane.invalidate();
}

new PointerInput(labelPane, { pen, settings, viewport, hover });
new KeyboardCursor(labelPane, { pen, settings, viewport, say, describe, show: (point) => hover(point, true) });
pen.addEventListener("pick", ({ detail }) => {
  settings.set({ classId: detail.id });
  say(palette.name(detail.id));
});
pen.addEventListener("corners", () => labelPane.invalidate());

// What the user does.

const actions = {
  undo: () => turnBack("undo", "Undone"),
  redo: () => turnBack("redo", "Done again"),
  choose: (tool) => {
    settings.set({ tool });
    say(tool);
  },
  chooseClass: (index) => say(palette.choose(index) ?? "No such class"),
  resize: (by) => {
    const step = settings.size >= 16 ? 4 : 1;
    settings.set({ size: Math.min(64, Math.max(1, settings.size + by * step)) });
    say(`Size ${settings.size}`);
  },
  zoom: (factor) => viewport.zoomBy(factor, hovered?.point),
  fit: () => viewport.fit(studio.document.width, studio.document.height),
  swap: () => palette.swap(),
  roll: () => studio.checkpoint.style_dim && styles.roll(),
  focusCanvas: () => byId("labels").focus(),
  search: () => byId("search").focus(),
  help: () => byId("help-dialog").showModal(),
  open: () => files.ask(),
  save: (what) => downloads.save(what),
};

function turnBack(direction, word) {
  pen.cancel();
  const name = studio.document[direction]();
  say(name ? `${word}: ${name}` : `Nothing to ${direction}`);
}

new Keyboard({ settings, actions });
byId("undo").addEventListener("click", actions.undo);
byId("redo").addEventListener("click", actions.redo);
byId("fit").addEventListener("click", actions.fit);
for (const button of document.querySelectorAll("[data-zoom]")) {
  button.addEventListener("click", () => viewport.zoomBy(Number(button.dataset.zoom)));
}
viewport.addEventListener("change", () => {
  byId("fit").textContent = `${Math.round(100 * viewport.zoom)}%`;
});
byId("size").addEventListener("input", ({ target }) => settings.set({ size: Number(target.value) }));
byId("veil").addEventListener("input", ({ target }) => settings.set({ veil: Number(target.value) }));
byId("theme").addEventListener("click", () => say(`${switchTheme()} theme`));
byId("theme").addEventListener("focus", () => say(`${shownTheme()} theme now`));

byId("tools").append(
  ...TOOLS.map((tool) => {
    const letter = tool === "eyedropper" ? "I" : tool[0].toUpperCase();
    const radio = make("input", { type: "radio", name: "tool", value: tool, aria: { label: tool } });
    return make("label", { title: `${tool[0].toUpperCase()}${tool.slice(1)} (${letter})` }, radio, icon(tool));
  }),
);
byId("tools").addEventListener("change", ({ target }) => settings.set({ tool: target.value }));

function showSettings() {
  byId("tools").querySelector(`[value=${settings.tool}]`).checked = true;
  byId("labels").classList.toggle("pan", settings.tool === "hand");
  byId("size").value = byId("size-shown").textContent = settings.size;
  byId("veil").value = settings.veil;
  byId("veil-shown").textContent = `${settings.veil}%`;
  byId("single-keys").checked = settings.singleKeys;
  labelPane.invalidate();
}
settings.addEventListener("change", ({ detail }) => {
  if (detail.changed.includes("tool")) pen.cancel();
  showSettings();
  session.keep("settings", () => settings.toJSON());
});

// What the studio does.

studio.addEventListener("checkpoint", () => {
  const { document: map, checkpoint } = studio;
  pen.document = map;
  document.documentElement.style.setProperty("--aspect", map.width / map.height);
  for (const pane of [labelPane, picturePane]) pane.resize(map.width, map.height);
  settings.set({ instances: checkpoint.instances });
  document.documentElement.dataset.checkpoint = checkpoint.name;
  viewport.fit(map.width, map.height);
});
studio.addEventListener("change", ({ detail }) => {
  const { document: map, checkpoint, style } = studio;
  byId("picture").setAttribute("aria-busy", "true");
  if (detail.kind === "style") {
    session.keep(`style:${checkpoint.name}`, () => style);
    return;
  }
  layer.draw(map);
  labelPane.invalidate();
  byId("undo").disabled = !map.canUndo && !map.editing;
  byId("redo").disabled = !map.canRedo;
  if (detail.kind === "step") session.keep(`document:${checkpoint.name}`, () => toKeep(map));
});
studio.addEventListener("idle", () => byId("picture").setAttribute("aria-busy", "false"));
studio.addEventListener("picture", () => {
  solved("picture");
  picturePane.draw();
  if (settings.veil < 100) labelPane.invalidate();
  const { elapsed, timing } = studio.picture;
  byId("timing").textContent = `Picture · ${Math.round(elapsed)} ms`;
  byId("timing").title = Object.entries(timing).map(([name, ms]) => `${name} ${ms.toFixed(1)} ms`).join(", ");
});

function toKeep({ width, height, labels, instances, steps, position }) {
  const first = Math.max(0, Math.min(position, steps.length - KEEP));
  return { width, height, labels, instances, steps: steps.slice(first), position: position - first };
}

// The beginning.

/** The classes to choose from: don't-care too. */
function listClasses({ classes, dont_care_id: id }) {
  const known = id === null || id === undefined || classes.some((each) => each.id === id);
  return known ? classes : [...classes, { id, name: "don't care", color: [0, 0, 0] }];
}

async function openCheckpoint(checkpoint) {
  const classes = listClasses(checkpoint);
  const { width, height, name } = checkpoint;
  layer.setClasses(classes);
  palette.setClasses(classes);
  const [templates, kept, style] = await Promise.all([
    start.load(checkpoint, classes),
    session.read(`document:${name}`),
    session.read(`style:${name}`),
  ]);
  const told = classes.filter(({ thing }) => thing).map(({ id }) => id);
  settings.set({ things: told.length ? new Set(told) : findThings(templates) });
  const same = kept?.width === width && kept?.height === height;
  const map = same ? new LabelDocument(kept) : LabelDocument.blank(width, height, settings.groundId);
  if (!same && templates.length) {
    map.labels.set(templates[0].labels);
    map.instances.set(templates[0].instances);
  }
  studio.open(checkpoint, map, style);
  session.keep("checkpoint", () => name);
}

async function begin() {
  settings.restore(await session.read("settings"));
  showSettings();
  const { checkpoints, limits } = await readCheckpoints();
  for (const each of [styles, files]) each.setLimit(limits?.max_body_bytes ?? Infinity);
  setOptions(byId("checkpoint"), checkpoints.map(({ name }) => [name, name]), await session.read("checkpoint"));
  byId("checkpoint").disabled = checkpoints.length < 2;
  const find = () => checkpoints.find(({ name }) => name === byId("checkpoint").value);
  byId("checkpoint").addEventListener("change", () => attempt(() => openCheckpoint(find()), "checkpoint"));
  await openCheckpoint(find());
  if (!session.working) toast("This browser keeps nothing for a reload");
  document.documentElement.dataset.ready = "true";
}

await attempt(begin, "beginning");
