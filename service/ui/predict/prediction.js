// What the service says of an image.

import { el, picture } from "../lib/dom.js";
import { milliseconds, percent, title, words } from "../lib/format.js";

const SHOWN = 5; // classes; the others are one line

/**
 * Make the nodes for the answer to one image: the photo large, the answer, how sure it is; `correct` is for the reader.
 *
 * @param {Predictions} answer
 * @param {{ url: string, drawn: boolean }} sent
 * @param {Child} correct
 * @returns {Child[]}
 */
export function answer({ model, predictions: [found], timing_ms: timing }, sent, correct) {
  const label = words(found.label ?? "");
  const done = steps(found.preprocessing ?? {});
  const [best] = found.top_k ?? [];
  const sure = found.abstained ? "" : `${percent(best?.probability, 0)} sure`;
  return [
    !sent.drawn && el("img", { src: sent.url, alt: "The image that was sent" }),
    el(
      "div",
      { class: "body" },
      el("div", { class: "row" }, el("p", { class: "label answer" }, found.abstained ? el("s", {}, label) : label), el("span", { class: "soft push" }, sure)),
      found.abstained && el("p", { class: "warning" }, `Not sure: ${found.reason}.`),
      bars(found.top_k ?? []),
      correct,
      el("div", { class: "pictures" }, pictures(found)),
      done.length > 0 && el("p", { class: "hint" }, `First: ${done.join(", ")}.`),
      el("p", { class: "hint" }, el("a", { href: `#/models/${model.id}` }, title(model)), ` answered in ${milliseconds(timing.total)}.`),
    ),
  ];
}

/** @param {Candidate[]} candidates the likeliest first */
function bars(candidates) {
  const rest = candidates.slice(SHOWN);
  const others = { label: `${rest.length} others`, probability: rest.reduce((sum, one) => sum + one.probability, 0) };
  const shown = rest.length > 1 ? [...candidates.slice(0, SHOWN), others] : candidates;
  /** @type {(candidate: Candidate, n: number) => HTMLElement} */
  const bar = ({ label, probability }, n) => {
    const filled = el("i", {});
    filled.style.setProperty("--share", String(probability));
    const own = { class: n ? "" : "first" };
    return el("li", own, el("span", { class: "name" }, label), el("span", { class: "track" }, filled), el("span", { class: "share" }, percent(probability, 1)));
  };
  return el("ol", { class: "bars", "aria-label": "Probabilities" }, shown.map(bar));
}

/** @param {Prediction} found */
function pictures({ model_input: image, saliency_map: heat }) {
  return [
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
