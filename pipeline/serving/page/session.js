/* The session, kept in the browser: IndexedDB for what is large, so that a reload loses nothing. */

const NAME = "spadework-painter";
const DELAY = 300; // ms after the last change

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore("session");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function ask(store, mode, what) {
  return new Promise((resolve, reject) => {
    const transaction = store.transaction("session", mode);
    const request = what(transaction.objectStore("session"));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

/**
 * Values by name that survive a reload. `keep(name, make)` stores what `make()` gives a little later, and when the page
 * is left, as far as the browser still lets it. Without IndexedDB (private windows) nothing is kept, and `working` is false.
 */
export class Session {
  #store = null;
  #due = new Map();
  #timer = 0;

  static async open() {
    const session = new Session();
    try {
      session.#store = await open();
    } catch {
      return session;
    }
    addEventListener("pagehide", () => session.flush());
    document.addEventListener("visibilitychange", () => document.hidden && session.flush());
    return session;
  }

  get working() {
    return this.#store !== null;
  }

  /** The value of a name; undefined where there is none. */
  async read(name) {
    return this.#store ? ask(this.#store, "readonly", (values) => values.get(name)) : undefined;
  }

  keep(name, make) {
    this.#due.set(name, make);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.flush(), DELAY);
  }

  async flush() {
    clearTimeout(this.#timer);
    const due = [...this.#due];
    this.#due.clear();
    if (!this.#store) return;
    try {
      await Promise.all(due.map(([name, make]) => ask(this.#store, "readwrite", (values) => values.put(make(), name))));
    } catch {
      this.#store = null; // the disk is full, or the user has taken the permission back: work goes on
    }
  }
}
