/* Live preview: one request at a time, and of those that wait only the newest. */

const PATIENCE = 30_000; // ms for which a busy service is asked again

/**
 * Sends the newest job, and shows answers in the order of their jobs.
 *
 * A request that runs is left to finish: were it aborted by every move of the pen, no picture would be seen before the
 * pen rests. Jobs that come meanwhile replace one another. `drop` makes running answers void: what they show is of
 * another checkpoint or document.
 */
export class Preview {
  #newest = null;
  #running = null;
  #paused = 0;

  /** `send(job, signal)` gives a promise of an answer, `show(answer, job)` shows it, `fail(error)` says what is wrong. */
  constructor({ send, show, fail, idle }) {
    Object.assign(this, { send, show, fail, idle });
  }

  get busy() {
    return this.#running !== null || this.#newest !== null;
  }

  request(job) {
    this.#newest = job;
    // The end of a stroke draws and ends a step in one go: that is one request.
    queueMicrotask(() => this.#newest && !this.#running && !this.#paused && this.#run());
  }

  drop() {
    this.#newest = null;
    this.#running?.abort();
    this.#running = null;
  }

  async #run() {
    const job = this.#newest;
    this.#newest = null;
    const controller = new AbortController();
    this.#running = controller;
    try {
      const answer = await this.send(job, controller.signal);
      if (this.#running === controller) await this.show(answer, job);
    } catch (error) {
      if (this.#running === controller) this.#recover(error, job);
    }
    if (this.#running !== controller) return; // dropped: whoever did it goes on
    this.#running = null;
    if (this.#newest && !this.#paused) this.#run();
    else if (!this.busy) this.idle?.();
  }

  #recover(error, job) {
    const wait = Math.max(1, error.retryAfter || 0) * 1000;
    job.since ??= performance.now();
    const again = error.status === 503 && performance.now() - job.since < PATIENCE;
    this.fail(error, again ? wait : 0);
    if (!again) return;
    this.#newest ??= job;
    this.#newest.since = job.since;
    this.#paused = setTimeout(() => {
      this.#paused = 0;
      if (this.#newest && !this.#running) this.#run();
    }, wait);
  }
}

/** Pictures that can wait (thumbnails, samples): one after another, while no preview is due. */
export class Leisure {
  #tasks = new Map();
  #running = false;
  #timer = 0;

  /** `rest` ms must pass after the last `interrupt`. */
  constructor({ rest, busy, fail }) {
    Object.assign(this, { rest, isBusy: busy, fail });
  }

  /** Replaces the tasks of a name by others: functions that give promises. */
  plan(name, tasks) {
    this.#tasks.set(name, tasks);
    this.interrupt();
  }

  /** Something more urgent happens: wait again. */
  interrupt() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), this.rest);
  }

  async #run() {
    if (this.#running) return;
    if (this.isBusy()) {
      this.interrupt();
      return;
    }
    const tasks = [...this.#tasks.values()].find((each) => each.length);
    if (!tasks) return;
    this.#running = true;
    const task = tasks.shift();
    let wait = 0;
    try {
      await task();
    } catch (error) {
      if (error.status === 503) {
        tasks.unshift(task);
        wait = Math.max(1, error.retryAfter) * 1000;
      } else {
        tasks.length = 0;
        this.fail(error);
      }
    }
    this.#running = false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), wait);
  }
}
