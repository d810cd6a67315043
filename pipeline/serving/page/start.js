/* "Start from": one class everywhere, or a label map of the checkpoint's data set. */

import { readTemplates } from "./client.js";
import { byId, make, setOptions } from "./dom.js";
import { attempt } from "./messages.js";
import { decodeRuns } from "./runs.js";
import { LabelLayer } from "./view.js";

/** The dialog, and the templates of a checkpoint. */
export class Start {
  #templates = []; // [{name, labels, instances}]

  constructor({ studio, settings }) {
    this.studio = studio;
    byId("start").addEventListener("click", () => this.show());
    byId("blank").addEventListener("click", () => {
      const { document } = studio;
      const id = Number(byId("blank-class").value);
      document.replace("start blank", new Uint16Array(document.labels.length).fill(id));
      settings.set({ groundId: id });
      byId("start-dialog").close();
    });
  }

  show() {
    byId("start-dialog").showModal();
  }

  /** Reads the templates of a checkpoint; returns them, and [] where the service has none. */
  async load(checkpoint, classes) {
    setOptions(byId("blank-class"), classes.map(({ id, name }) => [id, name]));
    byId("templates").replaceChildren();
    const found = await attempt(() => readTemplates(checkpoint.name), "templates");
    this.#templates = (found ?? [])
      .filter(({ label_map: map }) => map.width === checkpoint.width && map.height === checkpoint.height)
      .map(({ name, label_map: labels, instance_map: instances }) => ({
        name,
        width: labels.width,
        height: labels.height,
        labels: decodeRuns(labels),
        instances: instances ? decodeRuns(instances, Uint32Array) : new Uint32Array(labels.width * labels.height),
      }));
    byId("templates").replaceChildren(...this.#templates.map((template) => this.#button(template, classes)));
    return this.#templates;
  }

  #button(template, classes) {
    const layer = new LabelLayer();
    layer.setClasses(classes);
    layer.draw(template);
    const button = make("button", { type: "button" }, layer.canvas, template.name);
    button.addEventListener("click", () => {
      this.studio.document.replace(`start from ${template.name}`, template.labels, template.instances);
      byId("start-dialog").close();
    });
    return button;
  }
}

/** The ids of classes whose objects templates tell apart. */
export function findThings(templates) {
  const things = new Set();
  for (const { labels, instances } of templates) {
    instances.forEach((instance, index) => instance && things.add(labels[index]));
  }
  return things;
}
