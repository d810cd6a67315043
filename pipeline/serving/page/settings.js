/* What the tools are set to; kept in the session. */

const KEPT = ["tool", "size", "veil", "classId", "groundId", "singleKeys", "modes"];

/** Fires `change` with {changed: [names]} after `set`. */
export class Settings extends EventTarget {
  tool = "brush";
  size = 10;
  veil = 100;
  classId = null; // until there are classes
  groundId = 0;
  singleKeys = true;
  modes = {}; // how objects of a class are told apart, by id: "none", "new" or "extend"
  things = new Set(); // ids of classes whose objects are told apart unless the user says otherwise
  instances = false; // whether the checkpoint wants instances at all

  objects = (id) => (this.instances ? (this.modes[id] ?? (this.things.has(id) ? "new" : "none")) : "none");

  set(values) {
    const changed = Object.keys(values).filter((name) => this[name] !== values[name]);
    if (!changed.length) return;
    Object.assign(this, values);
    this.dispatchEvent(new CustomEvent("change", { detail: { changed } }));
  }

  toJSON() {
    return Object.fromEntries(KEPT.map((name) => [name, this[name]]));
  }

  /** Takes what `toJSON` gave, of an earlier visit. */
  restore(kept = {}) {
    this.set(Object.fromEntries(Object.entries(kept).filter(([name]) => KEPT.includes(name))));
  }
}
