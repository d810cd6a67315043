/* The label map and the picture on screen: two panes that always show the same part, at the same zoom. */

const MOST = 40; // screen pixels a label pixel, at the largest zoom
const EDGE = 0.62; // how dark the border of an object is beside its class's colour

/** What both panes show: the centre in label pixels, and how many times larger than fitted. */
export class Viewport extends EventTarget {
  zoom = 1;
  x = 0;
  y = 0;
  #width = 1;
  #height = 1;

  fit(width, height) {
    [this.#width, this.#height] = [width, height];
    this.set(1, width / 2, height / 2);
  }

  set(zoom, x, y) {
    this.zoom = Math.min(MOST, Math.max(1, zoom));
    const clamp = (value, size) => Math.min(size - size / this.zoom / 2, Math.max(size / this.zoom / 2, value));
    this.x = clamp(x, this.#width);
    this.y = clamp(y, this.#height);
    this.dispatchEvent(new Event("change"));
  }

  /** Zooms by a factor so that the label point `fixed` stays where it is. */
  zoomBy(factor, fixed = this) {
    const zoom = Math.min(MOST, Math.max(1, this.zoom * factor));
    const share = this.zoom / zoom;
    this.set(zoom, fixed.x + (this.x - fixed.x) * share, fixed.y + (this.y - fixed.y) * share);
  }

  panBy(dx, dy) {
    this.set(this.zoom, this.x + dx, this.y + dy);
  }
}

/** A canvas that shows layers of label-map size through a viewport. */
export class Pane {
  #due = false;

  /** `layers()` gives [{canvas, smooth, alpha}]; `decorate(context, pane)` draws on top, in screen pixels. */
  constructor(canvas, viewport, { layers, decorate }) {
    Object.assign(this, { canvas, viewport, layers, decorate });
    this.context = canvas.getContext("2d");
    this.size = { width: 1, height: 1 };
    viewport.addEventListener("change", () => this.invalidate());
    new ResizeObserver(() => this.invalidate()).observe(canvas);
  }

  /** Sets the size of the label map. */
  resize(width, height) {
    this.size = { width, height };
    this.canvas.style.aspectRatio = `${width} / ${height}`;
    this.invalidate();
  }

  /** Draws before the next frame. */
  invalidate() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => this.draw());
  }

  /** Screen pixels (of the canvas) a label pixel. */
  get scale() {
    return (this.canvas.width / this.size.width) * this.viewport.zoom;
  }

  /** Where a label point is on the canvas. */
  place({ x, y }) {
    return [
      this.canvas.width / 2 + (x - this.viewport.x) * this.scale,
      this.canvas.height / 2 + (y - this.viewport.y) * this.scale,
    ];
  }

  /** The label point under a pointer event, in fractions of label pixels. */
  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    return {
      x: this.viewport.x + ((event.clientX - box.left) * ratio - this.canvas.width / 2) / this.scale,
      y: this.viewport.y + ((event.clientY - box.top) * ratio - this.canvas.height / 2) / this.scale,
    };
  }

  draw() {
    this.#due = false;
    const { canvas, context } = this;
    const width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    const height = Math.max(1, Math.round((width * this.size.height) / this.size.width));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    context.clearRect(0, 0, width, height);
    const [left, top] = this.place({ x: 0, y: 0 });
    for (const { canvas: layer, smooth, alpha = 1 } of this.layers()) {
      context.globalAlpha = alpha;
      context.imageSmoothingEnabled = smooth;
      context.imageSmoothingQuality = "high";
      context.drawImage(layer, left, top, this.size.width * this.scale, this.size.height * this.scale);
    }
    context.globalAlpha = 1;
    this.decorate?.(context, this);
  }
}

/** Label maps in the colours of their classes, with the borders of objects darker. */
export class LabelLayer {
  canvas = document.createElement("canvas");
  #colours = new Uint32Array(65536);
  #dark = new Uint32Array(65536);
  #image = null;

  /** `classes`: [{id, color: [r, g, b]}]. */
  setClasses(classes) {
    const pack = ([red, green, blue], share) =>
      ((255 << 24) | (Math.round(blue * share) << 16) | (Math.round(green * share) << 8) | Math.round(red * share)) >>> 0;
    this.#colours.fill(0xff000000);
    this.#dark.fill(0xff000000);
    for (const { id, color } of classes) {
      this.#colours[id] = pack(color, 1);
      this.#dark[id] = pack(color, EDGE);
    }
  }

  draw({ width, height, labels, instances }) {
    if (this.canvas.width !== width || this.canvas.height !== height || !this.#image) {
      Object.assign(this.canvas, { width, height });
      this.#image = new ImageData(width, height);
    }
    const pixels = new Uint32Array(this.#image.data.buffer);
    for (let at = 0; at < labels.length; at += 1) pixels[at] = this.#colours[labels[at]];
    for (let at = 0; at < labels.length; at += 1) {
      const own = instances[at];
      const [right, below] = [at + 1, at + width];
      if (own !== instances[right] && right % width) pixels[at] = this.#dark[labels[at]];
      if (below < labels.length && own !== instances[below]) pixels[at] = this.#dark[labels[at]];
    }
    this.canvas.getContext("2d").putImageData(this.#image, 0, 0);
  }
}

/** The brush as a ring around a point, the corners of an open polygon, and the keyboard's cross. */
export function drawPen(context, pane, { point, size, corners, cross }) {
  const line = (width, colour) => Object.assign(context, { lineWidth: width * devicePixelRatio, strokeStyle: colour });
  const twice = (path) => {
    // Dark below light is seen on any colour.
    for (const [width, colour] of [[3, "rgb(0 0 0 / 0.65)"], [1.25, "#fff"]]) {
      line(width, colour);
      context.beginPath();
      path();
      context.stroke();
    }
  };
  if (corners.length) {
    const places = [...corners, ...(point ? [point] : [])].map((each) => pane.place(each));
    twice(() => places.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y))));
    for (const [x, y] of places.slice(0, corners.length)) twice(() => context.arc(x, y, 3.5 * devicePixelRatio, 0, 7));
  }
  if (!point) return;
  const [x, y] = pane.place(point);
  const radius = Math.max((size / 2) * pane.scale, 2.5 * devicePixelRatio);
  twice(() => context.arc(x, y, radius, 0, 7));
  if (!cross) return;
  const [near, far] = [radius + 3 * devicePixelRatio, radius + 11 * devicePixelRatio];
  twice(() => {
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * near, y + dy * near);
      context.lineTo(x + dx * far, y + dy * far);
    }
  });
}
