// The page's icons: strokes of one width on a field of 24.

import { svg } from "./dom.js";

/** @type {Record<string, string>} */
const PATHS = {
  plus: "M12 5v14M5 12h14",
  photos: "M3 4h18v16H3zM8.5 8a1.5 1.5 0 1 1 0 3 1.5 1.5 0 0 1 0-3M4 18l5-5 4 4 3-3 4 4",
  folder: "M3 6h6l2 2h10v11H3z",
  camera: "M4 8h3l2-3h6l2 3h3v11H4zM12 9.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7",
  pencil: "m4 20 1-4L16 5l3 3L8 19z",
  check: "m5 12.5 4.5 4.5L19 7.5",
  cross: "m6 6 12 12M18 6 6 18",
  clock: "M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17M12 7v5l3.5 2",
  warning: "M12 4 2.5 20h19zM12 10v4.5M12 17.3v.2",
  info: "M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17M12 11v5M12 8v.2",
  right: "M4 12h16m-6-6 6 6-6 6",
  chevron: "m9 5 7 7-7 7",
  fetch: "M12 4v11m-5-5 5 5 5-5M5 20h14",
  undo: "M4 9h11a5 5 0 0 1 0 10h-4M8 5 4 9l4 4",
  pause: "M8 5v14M16 5v14",
  stop: "M6 6h12v12H6z",
  bin: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  bolt: "M13 3 5 14h6l-1 7 8-11h-6z",
  copy: "M8 8h12v12H8zM16 8V4H4v12h4",
  search: "M11 4.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13M16 16l4.5 4.5",
};

/** @param {string} name */
export const icon = (name) =>
  svg("svg", { class: "i", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: PATHS[name] }));
