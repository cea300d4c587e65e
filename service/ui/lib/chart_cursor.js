// The line that reads every series of a chart, by pointer or by arrow keys.

import { el, svg } from "./dom.js";
import { figures } from "./format.js";

/** @typedef {{ name: string, points: { x: number, y: number }[] }} Line */

/**
 * @param {HTMLElement} figure
 * @param {string} xName
 * @param {Line[]} lines
 * @param {{ place: (x: number) => number, show: (y: number) => string | null, top: number, base: number }} scale
 */
export function cursor(figure, xName, lines, { place, show, top, base }) {
  const drawn = /** @type {SVGSVGElement} */ (figure.querySelector("svg[role=img]"));
  const places = [...new Set(lines.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b);
  const rule = svg("line", { class: "cross", y1: top, y2: base, visibility: "hidden" });
  const readout = el("div", { class: "readout", hidden: true, "aria-live": "polite" });
  drawn.append(rule);
  figure.append(readout);
  let at = -1;

  /** @param {number} n */
  const read = (n) => {
    at = Math.max(0, Math.min(places.length - 1, n));
    const x = place(places[at]);
    for (const end of ["x1", "x2"]) rule.setAttribute(end, String(x));
    rule.setAttribute("visibility", "visible");
    const values = lines.map(({ name, points }) => [name, points.find((one) => one.x === places[at])?.y]);
    const rows = values.map(([name, y]) => typeof y === "number" && el("div", {}, el("span", {}, name), el("span", {}, show(y))));
    readout.replaceChildren(el("b", {}, `${xName} ${figures(places[at])}`), ...rows.filter((one) => one !== false));
    readout.hidden = false;
    const left = (x / drawn.viewBox.baseVal.width) * drawn.clientWidth;
    readout.style.left = `${Math.min(left + 12, drawn.clientWidth - readout.offsetWidth)}px`;
  };
  const hide = () => {
    at = -1;
    rule.setAttribute("visibility", "hidden");
    readout.hidden = true;
  };
  drawn.addEventListener("pointermove", (event) => {
    const x = (event.offsetX / drawn.clientWidth) * drawn.viewBox.baseVal.width;
    const distances = places.map((one) => Math.abs(place(one) - x));
    read(distances.indexOf(Math.min(...distances)));
  });
  drawn.addEventListener("pointerleave", hide);
  drawn.addEventListener("blur", hide);
  drawn.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: at < 0 ? places.length - 1 : at - 1, ArrowRight: at + 1, Home: 0, End: places.length - 1 }[event.key];
    if (event.key === "Escape") hide();
    if (to === undefined) return;
    event.preventDefault();
    read(to);
  });
}
