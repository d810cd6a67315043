/* Mouse, pen and fingers on the panes: one paints, two zoom and pan; the wheel zooms. */

/** Lets a pointer on `pane` drive the pen. `settings.tool` "hand" pans; the right button paints the eraser's class. */
export class PointerInput {
  #down = new Map();
  #mode = null; // "draw", "pan" or "pinch"
  #from = null;

  /** `hover(point)` hears where a mouse or pen is (null: gone). */
  constructor(pane, { pen, settings, viewport, hover }) {
    Object.assign(this, { pane, pen, settings, viewport, hover });
    const { canvas } = pane;
    const listen = (name, handler, options) => canvas.addEventListener(name, handler, options);
    listen("pointerdown", (event) => this.#press(event));
    listen("pointermove", (event) => this.#move(event));
    listen("pointerup", (event) => this.#release(event));
    listen("pointercancel", (event) => this.#release(event, true));
    listen("pointerleave", () => this.#down.size || hover(null));
    listen("contextmenu", (event) => event.preventDefault());
    listen("dblclick", () => pen.corners.length && pen.close());
    listen("wheel", (event) => this.#wheel(event), { passive: false });
  }

  #press(event) {
    const { canvas } = this.pane;
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    event.preventDefault();
    this.#down.set(event.pointerId, event);
    if (this.#down.size === 2) {
      // The second finger: what the first has painted was not meant.
      if (this.#mode === "draw") this.pen.cancel();
      this.#mode = "pinch";
      this.#from = this.#span();
      return;
    }
    if (this.#down.size > 2) return;
    this.#from = event;
    const pan = this.settings.tool === "hand" || event.button === 1;
    this.#mode = pan ? "pan" : "draw";
    const point = this.pane.point(event);
    this.hover(point);
    if (!pan) this.pen.down(point, { other: event.button === 2, pick: event.altKey });
  }

  #move(event) {
    const point = this.pane.point(event);
    if (!this.#down.has(event.pointerId)) {
      this.hover(point);
      if (this.pen.corners.length) this.pen.move(point);
      return;
    }
    const before = this.#down.get(event.pointerId);
    this.#down.set(event.pointerId, event);
    if (this.#mode === "draw") {
      const all = event.getCoalescedEvents?.() ?? [];
      for (const each of all.length ? all : [event]) this.pen.move(this.pane.point(each));
      this.hover(point);
    } else if (this.#mode === "pan") {
      this.#pan(event.clientX - before.clientX, event.clientY - before.clientY);
    } else if (this.#mode === "pinch" && this.#down.size === 2) {
      this.#pinch();
    }
  }

  #release(event, lost = false) {
    if (!this.#down.delete(event.pointerId)) return;
    if (this.#mode === "draw") {
      if (lost) this.pen.cancel();
      else this.pen.up(this.pane.point(event));
      if (event.pointerType === "touch") this.hover(null);
    }
    if (!this.#down.size) this.#mode = null;
    else if (this.#mode === "pinch") this.#from = null; // the finger that stays does nothing
  }

  #wheel(event) {
    event.preventDefault();
    if (event.shiftKey) return this.#pan(-event.deltaY, 0);
    // A pinch on a touchpad comes as a wheel with Ctrl, in small steps.
    const speed = event.ctrlKey ? 0.01 : event.deltaMode ? 0.05 : 0.0015;
    return this.viewport.zoomBy(Math.exp(-event.deltaY * speed), this.pane.point(event));
  }

  #pan(dx, dy) {
    const scale = this.pane.scale / devicePixelRatio;
    this.viewport.panBy(-dx / scale, -dy / scale);
  }

  /** The middle of two fingers, and how far apart they are. */
  #span() {
    const [a, b] = [...this.#down.values()];
    return {
      clientX: (a.clientX + b.clientX) / 2,
      clientY: (a.clientY + b.clientY) / 2,
      distance: Math.max(8, Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY)),
    };
  }

  #pinch() {
    const now = this.#span();
    if (this.#from) {
      this.#pan(now.clientX - this.#from.clientX, now.clientY - this.#from.clientY);
      this.viewport.zoomBy(now.distance / this.#from.distance, this.pane.point(now));
    }
    this.#from = now;
  }
}
