/* A dial without ends: each notch is one number further. */

const NOTCH = 15; // degrees
const KEYS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 };

/** Turns `element` into a dial. `turn(steps)` hears by how many notches it was turned. */
export class Dial {
  #angle = 0;
  #rest = 0;

  constructor(element, turn) {
    this.element = element;
    this.turn = turn;
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      this.#angle = this.#angleOf(event);
      this.#rest = 0;
    });
    element.addEventListener("pointermove", (event) => {
      if (element.hasPointerCapture(event.pointerId)) this.#follow(this.#angleOf(event));
    });
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.deltaY) turn(event.deltaY < 0 ? 1 : -1);
    }, { passive: false });
    element.addEventListener("keydown", (event) => {
      const steps = KEYS[event.key];
      if (!steps) return;
      event.preventDefault();
      turn(steps);
    });
  }

  /** Shows a number. */
  show(value, most) {
    this.element.style.setProperty("--turn", `${(value * NOTCH) % 360}deg`);
    this.element.setAttribute("aria-valuemin", "0");
    this.element.setAttribute("aria-valuemax", String(most));
    this.element.setAttribute("aria-valuenow", String(value));
  }

  #angleOf(event) {
    const box = this.element.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    return (Math.atan2(y, x) * 180) / Math.PI;
  }

  #follow(angle) {
    const moved = ((angle - this.#angle + 540) % 360) - 180; // the short way around
    this.#angle = angle;
    this.#rest += moved;
    const steps = Math.trunc((this.#rest + Math.sign(this.#rest)) / NOTCH); // a degree early: hands are not exact
    if (!steps) return;
    this.#rest -= steps * NOTCH;
    this.turn(steps);
  }
}
