/* Files that come in: label maps as images, Parquet files and their rows; by the button or dropped on the page. */

import { readLabelMap, readRow } from "./client.js";
import { byId } from "./dom.js";
import { attempt, toast } from "./messages.js";
import { decodeRuns } from "./runs.js";

const isParquet = (file) => /\.parquet$/i.test(file.name);
const inMegabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;

/** Opens files into the studio's document. `takePhotograph(file)` gets those dropped on the style panel. */
export class Files {
  #parquet = null; // {file, rows, row}
  #limit = Infinity;

  constructor({ studio, takePhotograph }) {
    Object.assign(this, { studio, takePhotograph });
    byId("open").addEventListener("click", () => this.ask());
    byId("file").addEventListener("change", ({ target }) => {
      if (target.files.length) this.open(target.files[0]);
      target.value = "";
    });
    byId("row-before").addEventListener("click", () => this.#go(this.#parquet.row - 1));
    byId("row-after").addEventListener("click", () => this.#go(this.#parquet.row + 1));
    byId("row").addEventListener("change", ({ target }) => this.#go(Number(target.value) - 1));
    byId("rows-close").addEventListener("click", () => this.#closeParquet());
    studio.addEventListener("checkpoint", () => this.#closeParquet());
    this.#listenForDrops();
  }

  /** Bytes of a request that the service takes. */
  setLimit(bytes) {
    this.#limit = bytes;
  }

  ask() {
    byId("file").click();
  }

  /** Opens a label map or a Parquet file. */
  async open(file) {
    await attempt(async () => {
      if (file.size > this.#limit) {
        throw new Error(
          `${file.name} has ${inMegabytes(file.size)}, and the service takes ${inMegabytes(this.#limit)} at most: give a smaller file.`,
        );
      }
      if (isParquet(file)) {
        await this.#read({ file, rows: 1, row: 0 });
      } else {
        const { checkpoint } = this.studio;
        this.#take(`open ${file.name}`, checkpoint, await readLabelMap(checkpoint.name, file));
        this.#closeParquet();
        toast(`${file.name} is open`);
      }
    }, "open");
  }

  async #go(row) {
    const { file, rows } = this.#parquet;
    await attempt(() => this.#read({ file, rows, row: Math.min(rows - 1, Math.max(0, row)) }), "open");
    this.#showRow();
  }

  async #read({ file, row }) {
    const { checkpoint } = this.studio;
    const found = await readRow(checkpoint.name, file, row);
    this.#take(`row ${row + 1} of ${file.name}`, checkpoint, found);
    this.#parquet = { file, rows: found.rows, row: found.row };
    byId("row-id").textContent = `${found.id} · ${file.name}`;
    this.#showRow();
  }

  #take(name, checkpoint, { label_map: labels, instance_map: instances }) {
    const { document } = this.studio;
    if (checkpoint !== this.studio.checkpoint) return;
    if (labels.width !== document.width || labels.height !== document.height) {
      throw new Error(`The label map came as ${labels.width}x${labels.height}, not ${document.width}x${document.height}.`);
    }
    document.replace(name, decodeRuns(labels), instances && decodeRuns(instances, Uint32Array));
  }

  #showRow() {
    if (!this.#parquet) return;
    const { rows, row } = this.#parquet;
    byId("rows").hidden = false;
    byId("row").max = rows;
    byId("row").value = row + 1;
    byId("row-count").textContent = `of ${rows}`;
    byId("row-before").disabled = row === 0;
    byId("row-after").disabled = row === rows - 1;
  }

  #closeParquet() {
    this.#parquet = null;
    byId("rows").hidden = true;
  }

  #listenForDrops() {
    const cover = byId("drop");
    const onStyle = (event) => event.target instanceof Element && event.target.closest(".style") !== null;
    addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      cover.hidden = false;
      cover.firstElementChild.textContent = onStyle(event)
        ? "Drop a photograph to take its style"
        : "Drop a label map or a Parquet file; on the style panel, a photograph";
    });
    addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) cover.hidden = true;
    });
    addEventListener("drop", (event) => {
      cover.hidden = true;
      const [file] = event.dataTransfer.files;
      if (!file) return;
      event.preventDefault();
      if (onStyle(event) && !isParquet(file)) this.takePhotograph(file);
      else this.open(file);
    });
  }
}
