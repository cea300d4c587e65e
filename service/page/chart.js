// A line chart: axes, one line for each series, told apart by dashes and names, not by colour alone.

import { el, svg } from "./dom.js";
import { number } from "./format.js";

const [WIDTH, HEIGHT] = [360, 210];
const [LEFT, RIGHT, TOP, BOTTOM] = [46, 10, 10, 30];
const TICKS = 4;

/** `series`: [{name, points: [[x, y], ...]}]; points without a y are left out. */
export function chart(title, xName, series, show = (value) => number(value, 3)) {
  const known = series.map(({ name, points }) => ({ name, points: points.filter(([, y]) => y != null) }));
  const lines = known.filter(({ points }) => points.length);
  const all = lines.flatMap(({ points }) => points);
  const caption = el("figcaption", {}, title);
  if (!all.length) return el("figure", { class: "chart" }, caption, el("p", { class: "hint" }, "No epoch yet."));
  const scales = [scale(all.map(([x]) => x), LEFT, WIDTH - RIGHT), scale(all.map(([, y]) => y), HEIGHT - BOTTOM, TOP)];
  const latest = lines.map(({ name, points }) => `${name} ${show(points.at(-1)[1])}`);
  return el(
    "figure",
    { class: "chart" },
    caption,
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title} by ${xName}; ${latest.join(", ")}` },
      xAxis(scales[0], xName),
      yAxis(scales[1], show),
      lines.map(({ points }, n) => line(points, n, scales)),
    ),
    el("ul", { class: "legend" }, latest.map((text, n) => el("li", {}, sample(n), text))),
  );
}

/** From values to places, between round numbers. */
function scale(values, from, to) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const step = round((high - low || Math.abs(low) || 1) / TICKS);
  const [first, last] = [Math.floor(low / step), Math.max(Math.ceil(high / step), Math.floor(low / step) + 1)];
  const place = (value) => from + ((value / step - first) / (last - first)) * (to - from);
  return { place, ticks: Array.from({ length: last - first + 1 }, (_, n) => (first + n) * step) };
}

/** The next larger of 1, 2 and 5, with so many zeros. */
function round(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value);
}

function line(points, n, [x, y]) {
  const places = points.map(([a, b]) => [x.place(a), y.place(b)]);
  const dots = points.length <= 30 ? places.map(([cx, cy]) => svg("circle", { cx, cy, r: 2.5, class: "dot" })) : [];
  const joined = svg("polyline", { points: places.map((one) => one.join()).join(" ") });
  return svg("g", { class: `series-${n}` }, joined, dots);
}

function xAxis(x, name) {
  const base = HEIGHT - BOTTOM;
  const whole = x.ticks.filter(Number.isInteger);
  const labels = whole.map((value) => text(x.place(value), base + 14, "middle", String(value)));
  const axis = svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: base, y2: base });
  return svg("g", { class: "axis" }, axis, labels, text((LEFT + WIDTH) / 2, HEIGHT - 2, "middle", name));
}

function yAxis(y, show) {
  const grid = y.ticks.map((value) => {
    const at = y.place(value);
    const across = svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: at, y2: at, class: "grid-line" });
    return [across, text(LEFT - 5, at + 3, "end", show(value))];
  });
  return svg("g", { class: "axis" }, grid);
}

const text = (x, y, anchor, words) => svg("text", { x, y, "text-anchor": anchor }, words);

function sample(n) {
  const stroke = svg("polyline", { points: "0,4 24,4" });
  return svg("svg", { viewBox: "0 0 24 8", class: `sample series-${n}`, "aria-hidden": "true" }, stroke);
}
