/* The heart of the page: a checkpoint, a label map, a style, and the picture that the service makes of them. */

import { synthesize } from "./client.js";
import { Leisure, Preview } from "./preview.js";
import { encodeRuns } from "./runs.js";

const REST = 500; // ms without a change before thumbnails are drawn
const SLOW = 10; // ms of computing from which on a picture out of date is given up: a new connection costs a few
export const ID = "painter"; // styles of seeds come from the id too: with one id a seed is one look

/** What a style {base, partner, share} is to the service. */
export function toWire({ base, partner, share }) {
  const plain = ({ seed, z }) => (z ? { z } : { seed });
  return partner ? { blend: [plain(base), plain(partner)], t: share } : plain(base);
}

/**
 * Fires `checkpoint` (another one, with its document), `change` {kind} (label map: "draw" or "step"; or "style"), and
 * `picture` (a new one is in `canvas`), and `idle` when the picture is that of the newest change. `problem(error, wait)` hears why there is none.
 */
export class Studio extends EventTarget {
  checkpoint = null;
  document = null;
  style = { base: { seed: 0 }, partner: null, share: 0.5 };
  canvas = globalThis.document.createElement("canvas");
  picture = null; // {blob, timing, elapsed}, of what is shown
  #shown = null; // the request whose picture is shown

  constructor({ problem }) {
    super();
    this.preview = new Preview({
      send: (job, signal) => this.#send(job, signal),
      show: (answer, job) => this.#show(answer, job),
      fail: problem,
      idle: () => this.dispatchEvent(new Event("idle")),
    });
    this.leisure = new Leisure({ rest: REST, busy: () => this.preview.busy, fail: problem });
  }

  /** Another checkpoint, with a document of its size. */
  open(checkpoint, document, style) {
    this.preview.drop();
    this.#shown = this.picture = null;
    Object.assign(this, { checkpoint, document, style: style ?? { base: { seed: 0 }, partner: null, share: 0.5 } });
    document.addEventListener("change", ({ detail }) => {
      if (document === this.document) this.#changed(detail.kind);
    });
    this.dispatchEvent(new Event("checkpoint"));
    this.#changed("step");
  }

  setStyle(changes) {
    this.style = { ...this.style, ...changes };
    this.#changed("style");
  }

  /** The request for a picture in a style (left out: the one that is chosen). */
  request(style = this.style, format = "png") {
    const { width, height, labels, instances } = this.document;
    const { name, instances: wanted, style_dim: dimensions } = this.checkpoint;
    const request = { checkpoint: name, label_map: { width, height, runs: encodeRuns(labels) }, id: ID, format };
    if (wanted) request.instance_map = { width, height, runs: encodeRuns(instances) };
    if (dimensions) request.style = toWire(style);
    return request;
  }

  /** A task for `leisure`: draws the label map in a style on a canvas. */
  thumbnail(canvas, style) {
    return async (signal) => {
      const format = this.checkpoint.formats?.includes("webp") ? "webp" : "png"; // a thumbnail need not be exact
      const { blob } = await synthesize(JSON.stringify(this.request(style, format)), signal);
      await drawBlob(canvas, blob);
      canvas.dataset.drawn = "true";
    };
  }

  #changed(kind) {
    this.preview.request({ at: performance.now() });
    if (kind === "step" && this.picture?.timing.paint > SLOW) {
      const text = JSON.stringify(this.request());
      this.preview.hasten((job) => job.text !== text);
    }
    this.leisure.interrupt();
    this.dispatchEvent(new CustomEvent("change", { detail: { kind } }));
  }

  async #send(job, signal) {
    const text = JSON.stringify(this.request());
    if (text === this.#shown) return null;
    job.text = text;
    return synthesize(text, signal);
  }

  async #show(answer, job) {
    if (!answer) return;
    const { document } = this;
    const bitmap = await createImageBitmap(answer.blob);
    if (document !== this.document) return;
    this.#shown = job.text;
    drawBitmap(this.canvas, bitmap);
    this.picture = { ...answer, elapsed: performance.now() - job.at, request: JSON.parse(job.text) };
    this.dispatchEvent(new Event("picture"));
    requestAnimationFrame(() => performance.measure("change to picture", { start: job.at }));
  }
}

function drawBitmap(canvas, bitmap) {
  Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
}

async function drawBlob(canvas, blob) {
  drawBitmap(canvas, await createImageBitmap(blob));
}

