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
  #running = null; // {controller, job}
  #hastened = false; // whether the last request was given up for a newer one
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

  /**
   * Gives up a running request whose job is out of date, by `stale(job)`, for the newest: when the pen rests, that is the
   * picture waited for. Not twice in a row, so that however fast steps follow, pictures are seen.
   */
  hasten(stale) {
    if (!this.#running || !this.#newest || this.#hastened || !stale(this.#running.job)) return;
    this.#hastened = true;
    this.#running.controller.abort();
    this.#run();
  }

  drop() {
    this.#newest = null;
    this.#running?.controller.abort();
    this.#running = null;
  }

  async #run() {
    const job = this.#newest;
    this.#newest = null;
    const controller = new AbortController();
    const running = { controller, job };
    this.#running = running;
    try {
      const answer = await this.send(job, controller.signal);
      if (this.#running === running) await this.show(answer, job);
    } catch (error) {
      if (this.#running === running) this.#recover(error, job);
    }
    if (this.#running !== running) return; // dropped: whoever did it goes on
    this.#running = null;
    this.#hastened = false;
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
  #running = null; // the controller of the task at hand
  #timer = 0;

  /** `rest` ms must pass after the last `interrupt`. */
  constructor({ rest, busy, fail }) {
    Object.assign(this, { rest, isBusy: busy, fail });
  }

  /** Replaces the tasks of a name by others: functions of a signal that give promises. */
  plan(name, tasks) {
    this.#tasks.set(name, tasks);
    this.interrupt();
  }

  /** Something more urgent happens: wait again, and with what is at hand begin anew. */
  interrupt() {
    this.#running?.abort();
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
    const controller = new AbortController();
    this.#running = controller;
    const task = tasks.shift();
    let wait = 0;
    try {
      await task(controller.signal);
    } catch (error) {
      if (controller.signal.aborted) {
        tasks.unshift(task);
        wait = this.rest;
      } else if (error.status === 503) {
        tasks.unshift(task);
        wait = Math.max(1, error.retryAfter) * 1000;
      } else {
        tasks.length = 0;
        this.fail(error);
      }
    }
    this.#running = null;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), wait);
  }
}
