/* The picture being painted: label ids, instance numbers, and every step that led to them. */

/** What changed between two arrays of one length: a flat Uint32Array of [start, count, before, after] a run. */
export function difference(before, after) {
  const runs = [];
  let at = 0;
  while (at < after.length) {
    const from = before[at];
    const to = after[at];
    const start = at;
    at += 1;
    if (from === to) continue;
    while (at < after.length && before[at] === from && after[at] === to) at += 1;
    runs.push(start, at - start, from, to);
  }
  return Uint32Array.from(runs);
}

function apply(ids, runs, column) {
  for (let at = 0; at < runs.length; at += 4) ids.fill(runs[at + column], runs[at], runs[at] + runs[at + 1]);
}

/**
 * A label map with an instance map beside it, edited in steps that can be undone.
 *
 * Between `begin` and `commit` (or `cancel`) pixels are set with `span`. Steps are kept as runs of what changed: a
 * stroke takes a few hundred bytes, so that all of them can be kept. Fires `change` with {kind}: "draw" while a step
 * goes on, "step" at its end and for undo and redo.
 */
export class LabelDocument extends EventTarget {
  #base = null;

  constructor({ width, height, labels, instances, steps = [], position = steps.length }) {
    super();
    this.width = width;
    this.height = height;
    this.labels = labels;
    this.instances = instances ?? new Uint32Array(width * height);
    this.steps = steps;
    this.position = position;
  }

  static blank(width, height, id) {
    return new LabelDocument({ width, height, labels: new Uint16Array(width * height).fill(id) });
  }

  get canUndo() {
    return this.position > 0;
  }

  get canRedo() {
    return this.position < this.steps.length;
  }

  get editing() {
    return this.#base !== null;
  }

  /** Starts a step called `name`; one that is still open is finished first. */
  begin(name) {
    this.commit();
    this.#base = { name, labels: this.labels.slice(), instances: this.instances.slice() };
  }

  /** Sets the pixels from `left` up to `right` (left out) of row `y`, as far as they are inside. */
  span(y, left, right, id, instance = 0) {
    if (y < 0 || y >= this.height) return;
    const start = y * this.width + Math.max(0, left);
    const end = y * this.width + Math.min(this.width, right);
    if (end <= start) return;
    this.labels.fill(id, start, end);
    this.instances.fill(instance, start, end);
  }

  /** Back to where the step began, which goes on: shapes are drawn anew at every move. */
  reset() {
    this.labels.set(this.#base.labels);
    this.instances.set(this.#base.instances);
  }

  /** Says that pixels were set. */
  touch() {
    this.#fire("draw");
  }

  /** Ends the step. One that changed nothing leaves no trace. Returns whether anything changed. */
  commit() {
    if (!this.#base) return false;
    const { name, labels, instances } = this.#base;
    this.#base = null;
    const step = { name, labels: difference(labels, this.labels), instances: difference(instances, this.instances) };
    const changed = step.labels.length + step.instances.length > 0;
    if (changed) {
      this.steps.length = this.position;
      this.steps.push(step);
      this.position += 1;
    }
    this.#fire("step");
    return changed;
  }

  /** Ends the step as if it had never begun. */
  cancel() {
    if (!this.#base) return;
    this.reset();
    this.#base = null;
    this.#fire("step");
  }

  /** Takes other maps in as one step, which can be undone. */
  replace(name, labels, instances = null) {
    this.begin(name);
    this.labels.set(labels);
    if (instances) this.instances.set(instances);
    else this.instances.fill(0);
    this.commit();
  }

  /** Undoes a step; returns its name, or null where there is none. */
  undo() {
    this.cancel();
    if (!this.canUndo) return null;
    this.position -= 1;
    return this.#replay(this.steps[this.position], 2);
  }

  /** Does a step again that was undone; returns its name, or null where there is none. */
  redo() {
    this.cancel();
    if (!this.canRedo) return null;
    this.position += 1;
    return this.#replay(this.steps[this.position - 1], 3);
  }

  /** A number that no instance has yet. */
  nextInstance() {
    const used = new Set(this.instances);
    let free = 1;
    while (used.has(free)) free += 1;
    return free;
  }

  #replay(step, column) {
    apply(this.labels, step.labels, column);
    apply(this.instances, step.instances, column);
    this.#fire("step");
    return step.name;
  }

  #fire(kind) {
    this.dispatchEvent(new CustomEvent("change", { detail: { kind } }));
  }
}
