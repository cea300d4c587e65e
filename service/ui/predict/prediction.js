// What the service says of an image.

import { el, picture } from "../lib/dom.js";
import { milliseconds, percent, words } from "../lib/format.js";

/** The nodes for the answer to one image. */
export function answer({ model, predictions: [found], timing_ms: timing }, sent) {
  return [
    el("p", { class: "label" }, found.abstained ? el("s", {}, words(found.label)) : words(found.label)),
    found.abstained && el("p", { class: "warning" }, `It abstains: ${found.reason}.`),
    bars(found.top_k || []),
    el("div", { class: "pictures" }, pictures(found, sent)),
    done(found.preprocessing || {}),
    el(
      "p",
      { class: "hint" },
      el("a", { href: `#/models/${model.id}` }, `Version ${model.version}`),
      ` answered in ${milliseconds(timing.total)}.`,
    ),
  ].filter(Boolean);
}

function bars(candidates) {
  const bar = ({ label, probability }) => {
    const filled = el("span", { class: "bar" });
    filled.style.setProperty("--share", probability);
    const track = el("span", { class: "track" }, filled);
    return el("li", {}, el("span", {}, label), track, el("span", { class: "number" }, percent(probability, 1)));
  };
  return el("ol", { class: "bars", "aria-label": "Probabilities" }, candidates.map(bar));
}

function pictures(found, sent) {
  const url = URL.createObjectURL(sent);
  const shown = el("img", { src: url, alt: "The image that was sent", on: { load: () => URL.revokeObjectURL(url) } });
  const { model_input: image, saliency_map: heat } = found;
  return [
    framed("sent", shown),
    image && framed("as the network saw it", picture(image, "The image as the network saw it", { class: "pixels" })),
    heat && framed("what it looked at", picture(heat, "Heat map: light where hiding it costs most")),
  ];
}

const framed = (caption, image) => el("figure", {}, image, el("figcaption", {}, caption));

function done(preprocessing) {
  const steps = Object.entries(preprocessing).filter(([, value]) => value !== false && value != null);
  if (!steps.length) return null;
  const said = steps.map(([name, value]) => (value === true ? words(name) : `${words(name)} ${JSON.stringify(value)}`));
  return el("p", { class: "hint" }, `First: ${said.join(", ")}.`);
}
