/* Elements by id, and new ones. */

export const byId = (id) => document.getElementById(id);

/** An element with properties and children: make("button", { type: "button" }, "Text", other). */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  const { dataset = {}, aria = {}, ...rest } = properties;
  Object.assign(element, rest);
  Object.assign(element.dataset, dataset);
  for (const [key, value] of Object.entries(aria)) element.setAttribute(`aria-${key}`, value);
  element.append(...children);
  return element;
}

/** The picture `name` of index.html's icons. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Offers a blob as a file. */
export function offer(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Fills a <select> with [value, text] pairs, and keeps what was chosen where it is still there. */
export function setOptions(select, pairs, value = select.value) {
  select.replaceChildren(...pairs.map(([each, text]) => new Option(text, each)));
  if (pairs.some(([each]) => String(each) === String(value))) select.value = value;
}
