/* The strip: the same label map in other seeds, to choose from. */

import { byId, make } from "./dom.js";

const COUNT = 6;

/** Six seeds at a time below the canvas; a press takes one. */
export class Samples {
  #first = 1;

  constructor({ studio, choose }) {
    this.studio = studio;
    this.choose = choose;
    byId("fewer").addEventListener("click", () => this.#turn(-COUNT));
    byId("more").addEventListener("click", () => this.#turn(COUNT));
    studio.addEventListener("checkpoint", () => this.#list());
    studio.addEventListener("change", ({ detail }) => {
      if (detail.kind === "step") this.#plan();
      if (detail.kind === "style") this.#mark();
    });
  }

  #turn(by) {
    this.#first = Math.max(0, this.#first + by);
    this.#list();
  }

  #list() {
    byId("samples").hidden = !this.studio.checkpoint.style_dim;
    const buttons = Array.from({ length: COUNT }, (_, index) => {
      const seed = this.#first + index;
      const canvas = make("canvas", { width: 64, height: 64 });
      const button = make("button", { type: "button", dataset: { seed } }, canvas, `Seed ${seed}`);
      button.addEventListener("click", () => this.choose(seed));
      return button;
    });
    byId("strip").replaceChildren(...buttons);
    byId("fewer").disabled = this.#first === 0;
    this.#mark();
    this.#plan();
  }

  #mark() {
    const { seed } = this.studio.style.base;
    for (const button of byId("strip").children) button.setAttribute("aria-pressed", Number(button.dataset.seed) === seed);
  }

  #plan() {
    if (!this.studio.checkpoint.style_dim) return;
    const tasks = [...byId("strip").children].map((button) =>
      this.studio.thumbnail(button.firstElementChild, { base: { seed: Number(button.dataset.seed) } }),
    );
    this.studio.leisure.plan("samples", tasks);
  }
}
