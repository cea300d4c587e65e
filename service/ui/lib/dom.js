// Elements from plain calls. Text only ever becomes text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element. `on` holds listeners; true sets an empty attribute; false, null and undefined set none.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} attributes
 * @param {Child[]} children
 */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/**
 * Make an SVG element, as `el` does.
 *
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} attributes
 * @param {Child[]} children
 */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/**
 * @template {Element} Made
 * @param {Made} node
 * @param {Attributes} attributes
 * @param {Child[]} children
 */
function filled(node, { on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value != null) node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const [event, listener] of Object.entries(on)) {
    node.addEventListener(event, /** @type {EventListener} */ (listener));
  }
  node.append(...nodes(children));
  return node;
}

/**
 * List what can be appended: nothing stands for null and false.
 *
 * @param {Child[]} children
 * @returns {(Node | string)[]}
 */
export function nodes(children) {
  return children.flatMap((child) => {
    if (Array.isArray(child)) return nodes(child);
    if (child == null || child === false) return [];
    return [typeof child === "number" ? String(child) : child];
  });
}

/**
 * Find the page's own element of that id and class.
 *
 * @template {HTMLElement} Found
 * @param {string} id
 * @param {new () => Found} kind
 */
export function byId(id, kind) {
  const node = document.getElementById(id);
  if (!(node instanceof kind)) throw new TypeError(`index.html has no ${kind.name} #${id}`);
  return node;
}

/**
 * Get the entry of a form that has that name; the form is known to have it.
 *
 * @param {HTMLFormElement} form
 * @param {string} name
 */
export const entry = (form, name) => /** @type {Entry} */ (form.elements.namedItem(name));

/**
 * @param {string} text
 * @param {(event: MouseEvent) => unknown} act
 * @param {Attributes} attributes
 */
export function button(text, act, attributes = {}) {
  return el("button", { type: "button", on: { click: act }, ...attributes }, text);
}

/**
 * Show a PNG that came in base64.
 *
 * @param {string} base64
 * @param {string} alt
 * @param {Attributes} attributes
 */
export function picture(base64, alt, attributes = {}) {
  return el("img", { src: `data:image/png;base64,${base64}`, alt, ...attributes });
}

/**
 * Make a list of terms; a fact without a value is left out.
 *
 * @param {Fact[]} pairs
 */
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value != null && value !== "");
  return el("dl", { class: "facts" }, known.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/**
 * Make a table in a box that scrolls sideways by itself. The first cell of a row names the row.
 *
 * @param {string} caption
 * @param {string[]} head
 * @param {Child[][]} rows
 */
export function table(caption, head, rows) {
  /** @param {Child[]} cells */
  const line = (cells) =>
    el("tr", {}, cells.map((cell, n) => (n ? el("td", {}, cell) : el("th", { scope: "row" }, cell))));
  return el(
    "div",
    { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" },
    el(
      "table",
      {},
      el("caption", { class: "unseen" }, caption),
      el("thead", {}, el("tr", {}, head.map((text) => (text ? el("th", { scope: "col" }, text) : el("td"))))),
      el("tbody", {}, rows.map(line)),
    ),
  );
}

/**
 * Let files be dropped on an element, which shows by its class `over` that they can be.
 *
 * @param {HTMLElement} zone
 * @param {(transfer: DataTransfer | null) => unknown} take
 */
export function onDrop(zone, take) {
  /** @type {(event: DragEvent, is: boolean) => void} */
  const over = (event, is) => {
    event.preventDefault();
    zone.classList.toggle("over", is);
  };
  zone.addEventListener("dragover", (event) => over(event, true));
  zone.addEventListener("dragleave", (event) => over(event, false));
  zone.addEventListener("drop", (event) => {
    over(event, false);
    take(event.dataTransfer);
  });
}

/** @param {HTMLCanvasElement} canvas */
export function pen(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("This browser cannot draw.");
  return context;
}

/**
 * Encode what is on the canvas.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {string} type
 * @param {number} [quality]
 * @returns {Promise<Blob>}
 */
export function encoded(canvas, type, quality) {
  return new Promise((done, failed) => {
    canvas.toBlob((data) => (data ? done(data) : failed(new Error("The picture is empty."))), type, quality);
  });
}
