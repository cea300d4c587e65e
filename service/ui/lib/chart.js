// A line chart: axes, one line for each series, distinguished by dashes and names, not by colour alone. The axis reaches
// to the last epoch from the start; what is still to come is shaded; a cursor reads every line.

import { el, svg } from "./dom.js";
import { cursor } from "./chart_cursor.js";
import { figures, number } from "./format.js";

/**
 * `dot`: whether it may be marked.
 *
 * @typedef {{ x: number, y: number | null | undefined, dot: boolean }} Point
 * @typedef {{ x: number, y: number, dot: boolean }} KnownPoint
 * @typedef {{ name: string, points: Point[] }} Series
 * @typedef {{ place: (value: number) => number, ticks: number[] }} Scale
 * @typedef {(value: number) => string | null} Show
 */

const [WIDTH, HEIGHT] = [560, 230];
const [LEFT, RIGHT, TOP, BOTTOM] = [50, 14, 14, 30];
const BASE = HEIGHT - BOTTOM;
const [X_TICKS, Y_TICKS] = [10, 4];
const MAX_DOTS = 30;

/**
 * Draw the series; points without a y are left out. What is above `top` is drawn at the edge, and the farthest of it
 * with its number.
 *
 * @param {string} title
 * @param {string} xName
 * @param {Series[]} series
 * @param {{ show?: Show, top?: number, last?: number, best?: number }} options `last`: where the axis ends, `best`: an
 *   x that is marked on the last series
 */
export function chart(title, xName, series, { show = figures, top = Infinity, last, best } = {}) {
  const known = series.map(({ name, points }) => ({ name, points: points.filter(isKnown) }));
  const lines = known.filter(({ points }) => points.length);
  const all = lines.flatMap(({ points }) => points);
  const caption = el("figcaption", {}, title);
  if (!all.length) return el("figure", { class: "chart" }, caption, el("p", { class: "hint" }, "No figure yet."));
  const reached = all.map(({ x }) => x);
  const scales = { x: wholes(last ? [...reached, 1, last] : reached), y: rounds(all.map(({ y }) => Math.min(y, top))), top };
  const latest = lines.map(({ name, points }) => `${name} ${show(points[points.length - 1].y)}`);
  const label = `${title} by ${xName}; ${latest.join(", ")}`;
  const figure = el(
    "figure",
    { class: "chart" },
    caption,
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: 0, "aria-label": label },
      xAxis(scales.x, xName),
      ahead(scales.x, Math.max(...reached), last ?? 0),
      yAxis(scales.y, show),
      lines.map(({ points }, n) => line(points, n, scales, show)),
      mark(lines.at(-1)?.points ?? [], best, scales),
    ),
    el("ul", { class: "legend" }, latest.map((text, n) => el("li", {}, sample(n), text))),
  );
  cursor(figure, xName, lines, { place: scales.x.place, show, top: TOP, base: BASE });
  return figure;
}

/**
 * Shade what is still to come.
 *
 * @param {Scale} x
 * @param {number} reached
 * @param {number} last
 */
function ahead(x, reached, last) {
  if (reached >= last) return null;
  const from = x.place(reached);
  return svg("rect", { class: "ahead", x: from, y: TOP, width: x.place(last) - from, height: BASE - TOP });
}

/**
 * Mark the best point of a line by a ring.
 *
 * @param {KnownPoint[]} points
 * @param {number | undefined} best
 * @param {{ x: Scale, y: Scale, top: number }} scales
 */
function mark(points, best, { x, y, top }) {
  const found = points.find((one) => one.x === best && one.dot);
  if (!found) return null;
  const cx = x.place(found.x);
  return svg("ellipse", { class: "mark", cx, cy: y.place(Math.min(found.y, top)), rx: 6, ry: 6 }, svg("title", {}, "best"));
}

/**
 * @param {Point} point
 * @returns {point is KnownPoint}
 */
const isKnown = (point) => point.y != null;

/**
 * Scale across: from the whole number below the first value to the one above the last.
 *
 * @param {number[]} values
 * @returns {Scale}
 */
function wholes(values) {
  const [low, high] = [Math.floor(Math.min(...values)), Math.ceil(Math.max(...values))];
  const first = low === high ? low - 1 : low;
  const step = Math.max(1, round((high - first) / X_TICKS));
  const ticks = multiples(Math.ceil(first / step), Math.floor(high / step), step);
  return { place: (value) => LEFT + ((value - first) / (high - first)) * (WIDTH - RIGHT - LEFT), ticks };
}

/**
 * Scale up: between round numbers.
 *
 * @param {number[]} values
 * @returns {Scale}
 */
function rounds(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const step = round((high - low || Math.abs(low) || 1) / Y_TICKS);
  const first = Math.floor(low / step);
  const last = Math.max(Math.ceil(high / step), first + 1);
  /** @param {number} value */
  const place = (value) => BASE + ((value / step - first) / (last - first)) * (TOP - BASE);
  return { place, ticks: multiples(first, last, step) };
}

/**
 * @param {number} first
 * @param {number} last
 * @param {number} step
 */
const multiples = (first, last, step) => Array.from({ length: last - first + 1 }, (_, n) => (first + n) * step);

/**
 * Round up to 1, 2 or 5 with so many zeros.
 *
 * @param {number} value
 */
function round(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5].find((step) => step * power >= value) ?? 10);
}

/**
 * @param {KnownPoint[]} points
 * @param {number} n
 * @param {{ x: Scale, y: Scale, top: number }} scales
 * @param {Show} show
 */
function line(points, n, { x, y, top }, show) {
  const places = points.map((point) => ({ ...point, cx: x.place(point.x), cy: y.place(Math.min(point.y, top)) }));
  const marked = places.filter(({ dot }) => dot);
  const dots = marked.length <= MAX_DOTS ? marked.map(({ cx, cy }) => svg("circle", { cx, cy, r: 2.5, class: "dot" })) : [];
  const beyond = places.filter((one) => one.y > top).sort((a, b) => b.y - a.y).slice(0, 1);
  const farthest = beyond.map((one) => text(one.cx, one.cy - 4, "middle", `↑ ${show(one.y)}`));
  const joined = svg("polyline", { points: places.map(({ cx, cy }) => `${cx},${cy}`).join(" ") });
  return svg("g", { class: `series-${n}` }, joined, dots, svg("g", { class: "axis" }, farthest));
}

/**
 * @param {Scale} x
 * @param {string} name
 */
function xAxis(x, name) {
  const labels = x.ticks.map((value) => text(x.place(value), BASE + 14, "middle", number(value)));
  const axis = svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: BASE, y2: BASE });
  return svg("g", { class: "axis" }, axis, labels, text((LEFT + WIDTH) / 2, HEIGHT - 2, "middle", name));
}

/**
 * @param {Scale} y
 * @param {Show} show
 */
function yAxis(y, show) {
  const grid = y.ticks.map((value) => {
    const at = y.place(value);
    const across = svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: at, y2: at, class: "grid-line" });
    return [across, text(LEFT - 5, at + 4, "end", show(value))];
  });
  return svg("g", { class: "axis" }, grid);
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} anchor
 * @param {string | null} words
 */
const text = (x, y, anchor, words) => svg("text", { x, y, "text-anchor": anchor }, words);

/** @param {number} n */
function sample(n) {
  const stroke = svg("polyline", { points: "0,4 24,4" });
  return svg("svg", { viewBox: "0 0 24 8", class: `sample series-${n}`, "aria-hidden": "true" }, stroke);
}
