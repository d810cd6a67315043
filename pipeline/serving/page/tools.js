/* What the pen does: each tool turns presses, moves and releases at points of the label map into steps. */

import { capsule, flood, polygon, rectangle } from "./raster.js";

export const TOOLS = ["brush", "eraser", "line", "rectangle", "polygon", "fill", "eyedropper", "hand"];
const CLOSE = 3; // label pixels from a polygon's first corner at which a press closes it

/**
 * The pen of a document, with the settings {tool, size, classId, groundId, objects(classId)} at each press.
 *
 * Points are {x, y} in pixels of the label map, fractions allowed. Fires `pick` with {id} for the eyedropper and
 * `corners` when a polygon gets or loses one.
 */
export class Pen extends EventTarget {
  corners = [];
  #last = null;
  #anchor = null;
  #paint = null;
  #instance = null; // what "extend" goes on with where the pen starts on no object
  #picking = false;

  constructor(settings) {
    super();
    this.settings = settings;
    this.document = null;
  }

  /** Whether a press goes on with something: a line whose end is open, a polygon with corners. */
  get busy() {
    return this.#anchor !== null || this.corners.length > 0;
  }

  /** `other` paints the eraser's class, `pick` takes the class under the point, whatever the tool. */
  down(point, { other = false, pick = false } = {}) {
    const { tool } = this.settings;
    this.#picking = pick || tool === "eyedropper";
    if (this.#picking) return this.#pick(point);
    if (tool === "polygon") return this.#addCorner(point, other);
    this.cancel();
    this.#paint = this.#choosePaint(point, other || tool === "eraser");
    this.document.begin(tool);
    if (tool === "fill") return this.#fill(point);
    this.#last = this.#anchor = point;
    this.#draw(point);
    return undefined;
  }

  move(point) {
    if (this.#picking) this.#pick(point);
    else if (this.corners.length) this.#drawPolygon(point);
    else if (this.#anchor) this.#draw(point);
  }

  up(point) {
    const drawing = this.#anchor && !this.#picking;
    this.#picking = false;
    if (!drawing) return;
    this.#draw(point);
    this.#anchor = null;
    this.document.commit();
  }

  /** Ends the polygon, where one is open. */
  close() {
    if (this.corners.length < 2) return this.cancel();
    this.#drawPolygon(null);
    this.#setCorners([]);
    this.document.commit();
    return undefined;
  }

  /** Takes the polygon's last corner away. */
  dropCorner() {
    if (this.corners.length < 2) return this.cancel();
    this.#setCorners(this.corners.slice(0, -1));
    this.#drawPolygon(null);
    return undefined;
  }

  cancel() {
    this.#anchor = null;
    this.#picking = false;
    if (this.corners.length) this.#setCorners([]);
    this.document?.cancel();
  }

  #draw(point) {
    const { tool, size } = this.settings;
    const { x, y } = point;
    const from = this.#anchor;
    if (tool === "brush" || tool === "eraser") {
      capsule(this.#last.x, this.#last.y, x, y, size, this.#span);
    } else {
      this.document.reset();
      if (tool === "line") capsule(from.x, from.y, x, y, size, this.#span);
      else rectangle(from.x, from.y, x, y, this.#span);
    }
    this.#last = point;
    this.document.touch();
  }

  #addCorner(point, other) {
    const first = this.corners[0];
    if (first && this.corners.length > 2 && Math.hypot(first.x - point.x, first.y - point.y) < CLOSE) {
      return this.close();
    }
    if (!first) {
      this.#paint = this.#choosePaint(point, other);
      this.document.begin("polygon");
    }
    this.#setCorners([...this.corners, point]);
    return this.#drawPolygon(null);
  }

  #drawPolygon(point) {
    const points = [...this.corners, ...(point ? [point] : [])].map(({ x, y }) => [x, y]);
    this.document.reset();
    polygon(points, this.#span);
    this.document.touch();
  }

  #fill({ x, y }) {
    const { width, height, labels, instances } = this.document;
    const [column, row] = [Math.floor(x), Math.floor(y)];
    if (column >= 0 && column < width && row >= 0 && row < height) {
      const start = row * width + column;
      const [label, instance] = [labels[start], instances[start]];
      const same = (index) => labels[index] === label && instances[index] === instance;
      flood(column, row, width, height, same, this.#span);
    }
    this.document.commit();
  }

  #pick({ x, y }) {
    const { width, height, labels } = this.document;
    if (x < 0 || x >= width || y < 0 || y >= height) return;
    const id = labels[Math.floor(y) * width + Math.floor(x)];
    this.dispatchEvent(new CustomEvent("pick", { detail: { id } }));
  }

  #choosePaint({ x, y }, other) {
    const { classId, groundId, objects } = this.settings;
    const id = other ? groundId : classId;
    const mode = objects(id);
    if (mode === "none") return { id, instance: 0 };
    const { width, height, labels, instances } = this.document;
    const [column, row] = [Math.floor(x), Math.floor(y)];
    const inside = column >= 0 && column < width && row >= 0 && row < height;
    const under = inside && labels[row * width + column] === id ? instances[row * width + column] : 0;
    if (mode === "extend" && under) this.#instance = under;
    else if (mode === "new" || !this.#instance) this.#instance = this.document.nextInstance();
    return { id, instance: this.#instance };
  }

  #setCorners(corners) {
    this.corners = corners;
    this.dispatchEvent(new CustomEvent("corners"));
  }

  #span = (y, left, right) => this.document.span(y, left, right, this.#paint.id, this.#paint.instance);
}
