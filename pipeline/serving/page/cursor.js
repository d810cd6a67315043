/* Painting with the keyboard: a cross on the focused canvas, moved by arrows; Space and Enter are the pen. */

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const LEAP = 8; // label pixels that an arrow moves with Shift

/** A cross on `pane` that drives the pen. `say(text)` speaks to screen readers, `show(point)` draws it (null: gone). */
export class KeyboardCursor {
  point = null;
  #drawing = false;

  constructor(pane, { pen, settings, viewport, say, show, describe }) {
    Object.assign(this, { pane, pen, settings, viewport, say, show, describe });
    pane.canvas.addEventListener("keydown", (event) => this.#press(event));
    pane.canvas.addEventListener("pointerdown", () => this.#hide());
    pane.canvas.addEventListener("blur", () => this.#lift(false));
  }

  #press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    if (STEPS[key]) this.#step(STEPS[key], event.shiftKey ? LEAP : 1);
    else if (key === " ") this.#act();
    else if (key === "Enter") this.#finish();
    else if (key === "Backspace" && this.pen.corners.length) this.pen.dropCorner();
    else if (key === "Escape" && (this.#drawing || this.pen.busy)) this.#lift(true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #step([dx, dy], length) {
    const { width, height } = this.pane.size;
    const now = this.point ?? this.#start();
    const inside = (value, size) => Math.min(size - 0.5, Math.max(0.5, value));
    this.point = { x: inside(now.x + dx * length, width), y: inside(now.y + dy * length, height) };
    this.#follow();
    if (this.#drawing || this.pen.corners.length) this.pen.move(this.point);
    this.show(this.point);
    this.say(`${this.describe(this.point)}${this.#drawing ? ", pen down" : ""}`);
  }

  #act() {
    this.point ??= this.#start();
    this.show(this.point);
    const { tool } = this.settings;
    if (tool === "hand") return this.say("The hand moves the view: with the keyboard, the view follows the cross");
    if (this.#drawing) return this.#lift(false);
    this.pen.down(this.point);
    if (tool === "polygon") {
      const count = this.pen.corners.length;
      return this.say(count ? `Corner ${count}. Enter closes the polygon, Escape drops it` : "Polygon closed");
    }
    if (tool === "fill") return this.say("Filled");
    if (tool === "eyedropper") return this.pen.up(this.point);
    this.#drawing = true;
    return this.say("Pen down. Arrows draw, Space lifts the pen, Escape undoes");
  }

  #finish() {
    if (this.pen.corners.length) {
      this.pen.close();
      this.say("Polygon closed");
    } else {
      this.#act();
    }
  }

  #lift(cancel) {
    if (cancel) this.pen.cancel();
    else if (this.#drawing) this.pen.up(this.point);
    if (this.#drawing || cancel) this.say(cancel ? "Dropped" : "Pen up");
    this.#drawing = false;
  }

  #hide() {
    this.#lift(false);
    this.point = null;
  }

  #start() {
    return { x: Math.floor(this.viewport.x) + 0.5, y: Math.floor(this.viewport.y) + 0.5 };
  }

  /** Moves the view where the cross would leave it. */
  #follow() {
    const { width, height } = this.pane.size;
    const { zoom, x, y } = this.viewport;
    const [reachX, reachY] = [(0.45 * width) / zoom, (0.45 * height) / zoom];
    const keep = (value, centre, reach) => Math.min(value + reach, Math.max(value - reach, centre));
    this.viewport.set(zoom, keep(this.point.x, x, reachX), keep(this.point.y, y, reachY));
  }
}
