/* Files that go out, and marks of good and bad pictures. */

import { makeRecord, mark, readMarks } from "./client.js";
import { byId, offer } from "./dom.js";
import { attempt, toast } from "./messages.js";
import { encodeLabels } from "./png.js";

/** "painter-20261130-101500": so that files of one day do not replace each other, and sort. */
function newName() {
  const [day, time] = new Date().toISOString().split("T");
  return `painter-${day.replaceAll("-", "")}-${time.slice(0, 8).replaceAll(":", "")}`;
}

/** The download menu and both thumbs. `color(id)` is the palette's. */
export class Downloads {
  constructor({ studio, color }) {
    Object.assign(this, { studio, color });
    const menu = byId("downloads");
    menu.addEventListener("click", ({ target }) => {
      const what = target.closest("button")?.dataset.download;
      if (!what) return;
      menu.hidePopover();
      this.save(what);
    });
    menu.addEventListener("toggle", ({ newState }) => newState === "open" && this.#place(menu));
    for (const button of document.querySelectorAll("[data-mark]")) {
      button.addEventListener("click", () => this.mark(button));
    }
    studio.addEventListener("picture", () => this.#unmark());
  }

  /** Offers "picture", "labels", "record" or "marks" as a file. */
  async save(what) {
    const { studio } = this;
    const name = newName();
    await attempt(async () => {
      if (what === "marks") return offer(await readMarks(), "marks.parquet");
      if (what === "labels") return offer(await encodeLabels(studio.document, this.color), `${name}-labels.png`);
      if (!studio.picture) throw new Error("There is no picture yet.");
      if (what === "picture") return offer(studio.picture.blob, `${name}.png`);
      const record = { ...studio.request(), record_id: name };
      delete record.format;
      return offer(await makeRecord(record), `${name}.parquet`);
    }, "download");
  }

  /** Sends the mark of a button, of the picture that is seen. */
  async mark(button) {
    const word = button.dataset.mark;
    await attempt(async () => {
      if (!this.studio.picture) throw new Error("There is no picture yet.");
      const { format, ...request } = this.studio.picture.request;
      const { count } = await mark({ ...request, mark: word, note: "" });
      this.#unmark();
      button.setAttribute("aria-pressed", "true");
      toast(`Marked as ${word}: ${count} ${count === 1 ? "mark" : "marks"} so far`);
    }, "mark");
  }

  #unmark() {
    for (const button of document.querySelectorAll("[data-mark]")) button.setAttribute("aria-pressed", "false");
  }

  #place(menu) {
    const { left, bottom } = byId("download").getBoundingClientRect();
    menu.style.top = `${bottom}px`;
    menu.style.left = `${Math.max(8, Math.min(left, innerWidth - menu.offsetWidth - 8))}px`;
  }
}
