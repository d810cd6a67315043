/* The style panel: a dial of seeds, saved styles as thumbnails, photographs, and a blend of two. */

import { readStyle, readStyles, toBase64 } from "./client.js";
import { Dial } from "./dial.js";
import { byId, icon, make, setOptions } from "./dom.js";
import { attempt, say, toast } from "./messages.js";

const SEEDS = 1_000_000_000;
const SIDE = 1024; // pixels to which photographs are reduced that the service would not take

const sameStyle = (a, b) => (a.z ? JSON.stringify(a.z) === JSON.stringify(b.z) : !b.z && a.seed === b.seed);

/** The panel of a studio; styles that the user keeps are in the session. */
export class StylePanel {
  #saved = []; // the service's: [{name, z}]
  #kept = []; // the user's: [{name, seed | z, picture (blob, of photographs)}]
  #limit = Infinity;

  constructor({ studio, session }) {
    Object.assign(this, { studio, session });
    this.dial = new Dial(byId("dial"), (steps) => this.turn(steps));
    byId("seed").addEventListener("input", ({ target }) => target.validity.valid && target.value && this.setSeed(Number(target.value)));
    byId("roll").addEventListener("click", () => this.roll());
    byId("keep").addEventListener("click", () => this.#keep());
    byId("photograph").addEventListener("click", () => byId("photograph-file").click());
    byId("photograph-file").addEventListener("change", ({ target }) => {
      if (target.files.length) this.takePhotograph(target.files[0]);
      target.value = "";
    });
    byId("styles").addEventListener("change", ({ target }) => this.#use(this.#all()[Number(target.value)]));
    byId("partner").addEventListener("change", () => this.#blend());
    byId("blend").addEventListener("input", () => this.#blend());
    studio.addEventListener("checkpoint", () => this.#open());
    studio.addEventListener("change", ({ detail }) => {
      if (detail.kind === "style") this.#show();
      if (detail.kind === "step") this.#planThumbnails();
    });
  }

  /** Bytes of a request that the service takes. */
  setLimit(bytes) {
    this.#limit = bytes;
  }

  setSeed(seed) {
    this.studio.setStyle({ base: { seed } });
  }

  turn(steps) {
    const { seed = 0 } = this.studio.style.base;
    this.setSeed((seed + steps + SEEDS) % SEEDS);
  }

  roll() {
    this.setSeed(Math.floor(Math.random() * 1_000_000));
    say(`Seed ${this.studio.style.base.seed}`);
  }

  /** Takes the style of a photograph, and keeps it. */
  async takePhotograph(file) {
    const { checkpoint } = this.studio;
    await attempt(async () => {
      if (!checkpoint.photographs) throw new Error("This generator cannot take the style of a photograph.");
      const { z } = await readStyle(checkpoint.name, await toBase64(await this.#reduce(file)));
      if (checkpoint !== this.studio.checkpoint) return;
      const style = { name: file.name.replace(/\.\w+$/, "") || "photograph", z, picture: await shrink(file, 160) };
      this.#add(style);
      this.#use(style);
      toast(`The style of ${file.name}`);
    }, "photograph");
  }

  async #open() {
    const { checkpoint } = this.studio;
    const has = checkpoint.style_dim > 0;
    byId("style-controls").hidden = !has;
    byId("no-style").hidden = has;
    byId("photograph").hidden = !checkpoint.photographs;
    this.#saved = [];
    this.#kept = (await this.session.read(`kept:${checkpoint.name}`)) ?? [];
    this.#list();
    if (!has) return;
    const saved = await attempt(() => readStyles(checkpoint.name), "styles");
    if (!saved || checkpoint !== this.studio.checkpoint) return;
    this.#saved = saved;
    this.#list();
  }

  #all() {
    return [...this.#saved, ...this.#kept];
  }

  #use({ name, seed, z }) {
    this.studio.setStyle({ base: z ? { name, z } : { name, seed } });
  }

  #blend() {
    const partner = this.#all()[byId("partner").value] ?? null;
    const plain = partner && { name: partner.name, ...(partner.z ? { z: partner.z } : { seed: partner.seed }) };
    this.studio.setStyle({ partner: plain, share: Number(byId("blend").value) / 100 });
  }

  #keep() {
    const { base, partner, share } = this.studio.style;
    if (partner && base.z && partner.z) {
      const z = base.z.map((each, index) => each + share * (partner.z[index] - each));
      this.#add({ name: `${base.name} + ${partner.name}`, z });
    } else {
      this.#add({ name: base.name ?? `seed ${base.seed}`, ...base });
    }
    toast("Kept in this browser");
  }

  #add(style) {
    const known = this.#all().find((each) => sameStyle(each, style));
    if (!known) this.#kept.push(style);
    this.#store();
    this.#list();
  }

  #remove(style) {
    this.#kept = this.#kept.filter((each) => each !== style);
    this.#store();
    this.#list();
    byId("keep").focus();
    say(`${style.name} is no longer kept`);
  }

  #store() {
    const kept = this.#kept;
    this.session.keep(`kept:${this.studio.checkpoint.name}`, () => kept);
    this.session.flush(); // at once: what is begun while a page is left may be lost
  }

  /** The thumbnails anew. */
  #list() {
    const items = this.#all().map((style, index) => {
      const radio = make("input", { type: "radio", name: "style", value: index });
      const label = make("label", { title: style.name }, radio, make("canvas", { width: 64, height: 64 }), make("span", {}, style.name));
      const item = make("div", { className: "item" }, label);
      if (style.picture) {
        const photograph = make("img", { src: URL.createObjectURL(style.picture), alt: "" });
        photograph.addEventListener("load", () => URL.revokeObjectURL(photograph.src));
        label.querySelector("canvas").replaceWith(photograph);
      }
      if (this.#kept.includes(style)) {
        const remove = make("button", { type: "button", className: "icon", aria: { label: `Remove ${style.name}` } }, icon("close"));
        remove.addEventListener("click", () => this.#remove(style));
        item.append(remove);
      }
      return item;
    });
    byId("styles").replaceChildren(byId("styles").firstElementChild, ...items);
    setOptions(byId("partner"), [["", "nothing"], ...this.#all().map(({ name }, index) => [index, name])]);
    this.#show();
    this.#planThumbnails();
  }

  /** What is chosen, shown by all controls. */
  #show() {
    const { base, partner, share } = this.studio.style;
    const all = this.#all();
    const chosen = all.findIndex((each) => sameStyle(each, base));
    for (const radio of byId("styles").querySelectorAll("input")) radio.checked = Number(radio.value) === chosen;
    this.dial.show(base.seed ?? 0, SEEDS - 1);
    byId("dial").setAttribute("aria-valuetext", base.z ? `${base.name}, not a seed` : `seed ${base.seed}`);
    if (document.activeElement !== byId("seed") || base.z) byId("seed").value = base.z ? "" : base.seed;
    byId("seed").placeholder = base.z ? "none" : "";
    byId("style-name").textContent = base.z ? `Style: ${base.name}` : "";
    const other = partner ? all.findIndex((each) => sameStyle(each, partner)) : -1;
    byId("partner").value = other < 0 ? "" : other;
    byId("blend").disabled = !partner;
    byId("blend").value = Math.round(100 * share);
    byId("blend-shown").textContent = partner ? `${Math.round(100 * share)}%` : "";
  }

  #planThumbnails() {
    const canvases = [...byId("styles").querySelectorAll("canvas")];
    const styles = this.#all().filter(({ picture }) => !picture);
    const tasks = canvases.map((canvas, index) => this.studio.thumbnail(canvas, { base: styles[index] }));
    this.studio.leisure.plan("styles", tasks);
  }

  /** The file, or a smaller picture of it where base64 of it would be more than the service takes. */
  async #reduce(file) {
    return file.size * 1.4 < this.#limit ? file : shrink(file, SIDE);
  }
}

/** A JPEG of a picture whose longer side is `side` at most. */
async function shrink(file, side) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} is not a picture that this browser can read: give a JPEG, PNG or WebP.`);
  }
  const share = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const canvas = make("canvas", { width: Math.max(1, bitmap.width * share), height: Math.max(1, bitmap.height * share) });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((resolve) => {
    canvas.toBlob(resolve, "image/jpeg", 0.9);
  });
}
