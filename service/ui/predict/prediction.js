// What the service says of an image.

import { el, picture } from "../lib/dom.js";
import { milliseconds, percent, title, words } from "../lib/format.js";

/**
 * Make the nodes for the answer to one image.
 *
 * @param {Predictions} answer
 * @param {Blob} sent
 */
export function answer({ model, predictions: [found], timing_ms: timing }, sent) {
  const label = words(found.label ?? "");
  const done = steps(found.preprocessing ?? {});
  return [
    el("p", { class: "label" }, found.abstained ? el("s", {}, label) : label),
    ...(found.abstained ? [el("p", { class: "warning" }, `It abstains: ${found.reason}.`)] : []),
    bars(found.top_k ?? []),
    el("div", { class: "pictures" }, pictures(found, sent)),
    ...(done.length ? [el("p", { class: "hint" }, `First: ${done.join(", ")}.`)] : []),
    el(
      "p",
      { class: "hint" },
      el("a", { href: `#/models/${model.id}` }, title(model)),
      ` answered in ${milliseconds(timing.total)}.`,
    ),
  ];
}

/** @param {Candidate[]} candidates */
function bars(candidates) {
  /** @param {Candidate} candidate */
  const bar = ({ label, probability }) => {
    const filled = el("span", { class: "bar" });
    filled.style.setProperty("--share", String(probability));
    const track = el("span", { class: "track" }, filled);
    return el("li", {}, el("span", {}, label), track, el("span", { class: "number" }, percent(probability, 1)));
  };
  return el("ol", { class: "bars", "aria-label": "Probabilities" }, candidates.map(bar));
}

/**
 * @param {Prediction} found
 * @param {Blob} sent
 */
function pictures({ model_input: image, saliency_map: heat }, sent) {
  const url = URL.createObjectURL(sent);
  const shown = el("img", { src: url, alt: "The image that was sent", on: { load: () => URL.revokeObjectURL(url) } });
  return [
    framed("sent", shown),
    image && framed("as the network saw it", picture(image, "The image as the network saw it", { class: "pixels" })),
    heat && framed("what it looked at", picture(heat, "Heat map: light where hiding it costs most")),
  ];
}

/**
 * @param {string} caption
 * @param {HTMLImageElement} image
 */
const framed = (caption, image) => el("figure", {}, image, el("figcaption", {}, caption));

/**
 * Say what was done to the image first.
 *
 * @param {Record<string, unknown>} preprocessing
 */
function steps(preprocessing) {
  const done = Object.entries(preprocessing).filter(([, value]) => value !== false && value != null);
  return done.map(([name, value]) => (value === true ? words(name) : `${words(name)} ${JSON.stringify(value)}`));
}
