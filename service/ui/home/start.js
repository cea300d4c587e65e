// The first screen: one place to drop photos, and how it goes on from there.

import { el, onDrop, svg } from "../lib/dom.js";
import { number } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { photograph, hasCamera } from "../photos/camera.js";
import { chooser, FOLDER, PHOTOS } from "../photos/choosers.js";
import { dropped } from "../photos/source.js";

const NEXT = "#/new";
/** @type {[title: string, about: string][]} */
const STEPS = [
  ["Photos", "10 of each class are enough to begin, 50 make it good."],
  ["Train", "Quick takes seconds, Accurate takes minutes."],
  ["Try", "Drop new photos, or hold things up to the camera."],
];
/** @type {Record<string, string>} */
const SAMPLES = { digits: "Handwritten digits", mnist: "MNIST: more digits", fashion_mnist: "Clothes", cifar10: "Everyday things" };

/** @param {ViewContext} context */
export async function startScreen(context) {
  const { main, api, signal } = context;
  /** @type {{ data: DatasetSummary[] }} */
  const { data } = await api.get("datasets", signal);
  main.replaceChildren(
    el(
      "div",
      { class: "narrow" },
      el(
        "div",
        { class: "hello" },
        el("h1", {}, "Teach it with your photos"),
        el("p", {}, "Sort photos into classes, let it learn, ask it about new ones. Nothing leaves this machine."),
      ),
      dropZone(context, "large"),
      el("ol", { class: "three" }, STEPS.map(([title, about], n) => el("li", {}, el("b", {}, n + 1), el("h2", {}, title), el("p", {}, about)))),
      samples(data),
    ),
  );
}

/**
 * Make the zone that takes photos; with them the next screen comes.
 *
 * @param {ViewContext} context
 * @param {"large" | "slim"} size
 */
export function dropZone({ draft, signal, fail }, size) {
  /** @param {GivenFile[]} files */
  const take = (files) => {
    draft.add(files);
    if (draft.isEmpty) fail(new Error("None of these files is a photo."));
    else if (location.hash !== NEXT) location.hash = NEXT;
    else dispatchEvent(new HashChangeEvent("hashchange")); // it is this screen already
  };
  const shoot = async () => {
    const file = await photograph(signal);
    if (file) take([[file.name, file]]);
  };
  const camera = { type: "button", class: `icon ${size}`, "aria-label": "Use the camera", title: "Use the camera", disabled: !hasCamera() };
  const buttons = el(
    "p",
    { class: "row" },
    chooser("Choose a folder", FOLDER, take, { image: "folder", look: `primary not-phone ${size}` }),
    chooser("Choose photos", PHOTOS, take, { image: "photos", look: size }),
    el("button", { ...camera, on: { click: () => shoot().catch(() => fail(new Error("No camera can be used here."))) } }, icon("camera")),
  );
  const zone = el(
    "section",
    { class: `zone ${size}`, "aria-labelledby": "drop" },
    el(
      "div",
      {},
      el("h2", { id: "drop" }, size === "slim" ? "Drop photos for a new model" : "Drop a folder of photos here"),
      el("p", { class: "soft" }, "With a folder inside for each class. A zip works too, and so do loose photos: you sort them here."),
      size === "large" && buttons,
    ),
    size === "large" ? sketch() : buttons,
  );
  onDrop(zone, async (transfer) => take(await dropped(transfer)));
  return zone;
}

/** Draw what a folder looks like: one for each class, in one folder. */
function sketch() {
  return svg(
    "svg",
    { class: "sketch", viewBox: "0 0 454 244", role: "img", "aria-label": "A folder named fruit; in it a folder of photos for each class: apples, pears" },
    svg("rect", { class: "folder", x: 4, y: 86, width: 112, height: 72, rx: 12 }),
    svg("text", { x: 60, y: 119, "text-anchor": "middle" }, "fruit"),
    svg("text", { class: "quiet", x: 60, y: 139, "text-anchor": "middle" }, "one folder"),
    svg("path", { class: "tie", d: "M116 122h24c12 0 12-66 22-66h14M116 122h24c12 0 12 66 22 66h14" }),
    inner("apples", 6, APPLE, ["#c8322b", "#a9c23f", "#d9493a", "#e0a63a", "#b3261e"]),
    inner("pears", 134, PEAR, ["#b9b43a", "#8fa83c", "#d0b04a", "#a8b545", "#c9c05a"]),
  );
}

const APPLE = "M22 17c-4-3-11-2-11 7s5 13 8 13c2 0 2-1 3-1s1 1 3 1c3 0 8-4 8-13s-7-10-11-7z";
const PEAR = "M22 9c-4 0-5 3-5 7-1 3-7 6-7 12 0 5 5 9 12 9s12-4 12-9c0-6-6-9-7-12 0-4-1-7-5-7z";
const TILES = ["#dfe7ee", "#3b4a3f", "#efe3cf", "#5b7fa6", "#cfd8c2"];

/**
 * @param {string} name
 * @param {number} y
 * @param {string} shape
 * @param {string[]} colours
 */
function inner(name, y, shape, colours) {
  const tiles = colours.map((fill, n) =>
    svg("g", { transform: `translate(${192 + 50 * n} ${y + 42})` }, svg("rect", { width: 44, height: 44, rx: 6, fill: TILES[n] }), svg("path", { d: shape, fill })),
  );
  return [
    svg("rect", { class: "folder", x: 176, y, width: 274, height: 104, rx: 12 }),
    svg("text", { x: 192, y: y + 27 }, name),
    svg("text", { class: "quiet", x: 434, y: y + 27, "text-anchor": "end" }, `photos of ${name}`),
    tiles,
  ];
}

/** @param {DatasetSummary[]} datasets */
function samples(datasets) {
  const known = datasets.filter((one) => one.name in SAMPLES || one.kind !== "built_in");
  const first = known.sort((a, b) => Number(b.available) - Number(a.available)).slice(0, 3);
  return el(
    "section",
    { "aria-labelledby": "no-photos" },
    el("div", { class: "head" }, el("h2", { id: "no-photos" }, "No photos at hand?"), el("a", { class: "push small", href: "#/datasets" }, "All data sets")),
    el("div", { class: "samples" }, first.map(sample)),
  );
}

/** @param {DatasetSummary} dataset */
function sample({ name, images, available }) {
  const about = [images && `${number(images)} photos`, available ? "here" : "is fetched first"].filter(Boolean).join(" · ");
  return el(
    "a",
    { class: "sample", href: `#/new?dataset=${encodeURIComponent(name)}` },
    el("span", { class: "blank" }, icon(available ? "photos" : "fetch")),
    el("span", {}, el("b", {}, SAMPLES[name] ?? name), el("small", { class: "soft" }, about)),
  );
}
