/* The classes: a list to choose from, with search, and what pen and eraser paint. */

import { byId, make, setOptions } from "./dom.js";

const rgb = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

/** The list of classes, kept in step with `settings`. */
export class Palette {
  classes = [];

  constructor(settings) {
    this.settings = settings;
    byId("search").addEventListener("input", () => this.#filter());
    byId("search").addEventListener("keydown", (event) => {
      const [first] = this.#shown();
      if (event.key !== "Enter" || !first) return;
      event.preventDefault();
      settings.set({ classId: first.id });
    });
    byId("classes").addEventListener("change", (event) => settings.set({ classId: Number(event.target.value) }));
    byId("ground").addEventListener("change", (event) => settings.set({ groundId: Number(event.target.value) }));
    byId("swap").addEventListener("click", () => this.swap());
    byId("ink").addEventListener("click", () => this.#chosen()?.focus());
    byId("objects").addEventListener("change", (event) => {
      settings.set({ modes: { ...settings.modes, [settings.classId]: event.target.value } });
    });
    settings.addEventListener("change", () => this.#update());
  }

  /** Shows the classes of a checkpoint: [{id, name, color}]. */
  setClasses(classes) {
    this.classes = classes;
    byId("classes").replaceChildren(
      byId("classes").firstElementChild,
      ...classes.map(({ id, name, color }, index) => {
        const swatch = make("i");
        swatch.style.background = rgb(color);
        const radio = make("input", { type: "radio", name: "class", value: id });
        const row = make("label", { dataset: { name: name.toLowerCase() } }, radio, swatch, name);
        if (index < 9) row.append(make("kbd", {}, String(index + 1)));
        return row;
      }),
    );
    setOptions(byId("ground"), classes.map(({ id, name }) => [id, name]));
    byId("search").value = "";
    const known = (id, other) => (classes.some((each) => each.id === id) ? id : other);
    const { classId, groundId } = this.settings;
    this.settings.set({ classId: known(classId, (classes[1] ?? classes[0]).id), groundId: known(groundId, classes[0].id) });
    this.#filter();
    this.#update();
  }

  name(id) {
    return this.classes.find((each) => each.id === id)?.name ?? `class ${id}`;
  }

  color(id) {
    return this.classes.find((each) => each.id === id)?.color ?? [0, 0, 0];
  }

  /** Chooses the class at a place of the list, from 0; returns its name, or null. */
  choose(index) {
    const found = this.#shown()[index];
    if (!found) return null;
    this.settings.set({ classId: found.id });
    return found.name;
  }

  swap() {
    const { classId, groundId } = this.settings;
    this.settings.set({ classId: groundId, groundId: classId });
  }

  #words() {
    return byId("search").value.toLowerCase().split(/\s+/);
  }

  #shown() {
    const words = this.#words();
    return this.classes.filter(({ name }) => words.every((word) => name.toLowerCase().includes(word)));
  }

  #filter() {
    const words = this.#words();
    for (const row of byId("classes").querySelectorAll("label")) {
      row.hidden = !words.every((word) => row.dataset.name.includes(word));
    }
    byId("no-class").hidden = this.#shown().length > 0;
  }

  #chosen() {
    return byId("classes").querySelector(":checked");
  }

  #update() {
    const { classId, groundId, instances, objects } = this.settings;
    const radio = byId("classes").querySelector(`input[value="${classId}"]`);
    if (radio && !radio.checked) {
      radio.checked = true;
      radio.parentElement.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    byId("ink").querySelector("i").style.background = rgb(this.color(classId));
    byId("ink").querySelector("b").textContent = this.name(classId);
    byId("ground-swatch").style.background = rgb(this.color(groundId));
    byId("ground").value = groundId;
    byId("objects-choice").hidden = !instances;
    byId("objects").value = objects(classId);
  }
}
