// Elements from plain calls. Text only ever becomes text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `on` holds listeners; true sets an empty attribute; false, null and undefined set none. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, { on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  node.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return node;
}

export function button(text, act, attributes = {}) {
  return el("button", { type: "button", on: { click: act }, ...attributes }, text);
}

/** A PNG that came in base64. */
export function picture(base64, alt, attributes = {}) {
  return el("img", { src: `data:image/png;base64,${base64}`, alt, ...attributes });
}

/** [[name, value or node], ...] as a list of terms; what is null is left out. */
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value != null && value !== "");
  const fact = ([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
  return el("dl", { class: "facts" }, known.map(fact));
}

/** A table in a box that scrolls sideways by itself. Rows: lists of cells, the first of which names the row. */
export function table(caption, head, rows) {
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
