// How good a model is, in counts before percentages: how many it got right, and what to expect of new photos.

import { el } from "../lib/dom.js";
import { number, range, right } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { rangeBar } from "./cards.js";

const FEW = 100; // test photos, below which the figure is rough

/** @param {ModelView} model */
export function resultCard({ test, dataset }) {
  const [counts, word] = [right(test).slice(0, -" right".length), "right"];
  return el(
    "section",
    { class: "card stack", "aria-labelledby": "score" },
    el("div", {}, el("h2", { class: "big", id: "score" }, `${counts} `, el("span", {}, word)), el("p", { class: "soft" }, "on test photos it had never seen")),
    el("div", {}, el("p", {}, "On new photos like these, expect ", el("b", { class: "nowrap" }, range(test)), " right."), rangeBar(test)),
    test.images < FEW && rough(test, dataset),
  );
}

/**
 * @param {TestResult} test
 * @param {string} dataset
 */
function rough({ images }, dataset) {
  const text = el("p", {}, el("b", {}, `${number(images)} test photos give a rough figure.`), ` ${number(3 * images)} more would halve the range.`);
  const add = el("a", { class: "button push", href: `#/datasets/${dataset}` }, "Add photos");
  return el("div", { class: "notice look" }, icon("warning"), text, add);
}
