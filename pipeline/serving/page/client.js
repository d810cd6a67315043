/* The service's API, version 1. Addresses are relative, so that it works under any prefix. */

/** What the service, or the way to it, says went wrong: one sentence. */
export class ServiceError extends Error {
  constructor(message, { status = 0, retryAfter = 0 } = {}) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

async function call(path, { json, body = json && JSON.stringify(json), type, signal, query = {} } = {}) {
  const address = new URL(`api/v1/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
  const headers = type || json ? { "Content-Type": type ?? "application/json" } : {};
  let answer;
  try {
    answer = await fetch(address, { method: body === undefined ? "GET" : "POST", headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError("The service does not answer. Is it running? Your label map is kept in this browser.");
  }
  if (answer.ok) return answer;
  throw new ServiceError(await explain(answer), {
    status: answer.status,
    retryAfter: Number(answer.headers.get("Retry-After")) || 0,
  });
}

async function explain(answer) {
  try {
    const { error } = await answer.json();
    if (typeof error === "string" && error) return error;
  } catch {
    // Not ours: a proxy's page, perhaps.
  }
  return `The service answered ${answer.status} ${answer.statusText}`.trim() + ".";
}

const readJson = async (path, options) => (await call(path, options)).json();

export const readCheckpoints = () => readJson("checkpoints");
export const readTemplates = async (checkpoint) => (await readJson("templates", { query: { checkpoint } })).templates;
export const readStyles = async (checkpoint) => (await readJson("styles", { query: { checkpoint } })).styles;

/** A picture of a request as JSON text: {blob, timing: {queue, paint ...} in ms}. */
export async function synthesize(text, signal) {
  const answer = await call("synthesize", { body: text, type: "application/json", signal });
  const timing = {};
  for (const [, name, ms] of (answer.headers.get("Server-Timing") ?? "").matchAll(/([\w-]+)[^,]*?;dur=([\d.]+)/g)) {
    timing[name] = Number(ms);
  }
  return { blob: await answer.blob(), timing };
}

/** The style of a photograph (a base64 string): {z}. */
export const readStyle = (checkpoint, photograph) => readJson("styles", { json: { checkpoint, photograph } });

/** An image file as a label map of the checkpoint's size. */
export const readLabelMap = async (checkpoint, file) =>
  readJson("label-maps", { body: file, type: file.type || "image/png", query: { checkpoint } });

/** A row of a Parquet file: {rows, row, id, label_map, instance_map}. */
export const readRow = (checkpoint, file, row) =>
  readJson("parquet", { body: file, type: "application/vnd.apache.parquet", query: { checkpoint, row } });

/** A Parquet file of one record, as a blob. */
export const makeRecord = async (request) => (await call("records", { json: request })).blob();

/** Marks a picture as good or bad: {count}. */
export const mark = (request) => readJson("marks", { json: request });

/** All marks as a Parquet file, as a blob. */
export const readMarks = async () => (await call("marks")).blob();

/** The bytes of a blob as base64. */
export async function toBase64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}
