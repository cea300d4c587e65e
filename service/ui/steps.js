// The steps of what shares a name: Photos, Train, Try. Each leads to its newest screen; what is not there yet is grey.

import { el } from "./lib/dom.js";
import { icon } from "./lib/icons.js";

/** @typedef {{ href?: string, note?: string }} Step */
/** @typedef {"photos" | "train" | "try"} StepName */
/** @type {[name: StepName, title: string][]} */
const STEPS = [["photos", "Photos"], ["train", "Train"], ["try", "Try"]];

/**
 * Show the steps of `name` in their place below the header, the current one marked.
 *
 * @param {HTMLElement} place
 * @param {string} name
 * @param {StepName} current
 * @param {Record<StepName, Step>} steps
 */
export function showSteps(place, name, current, steps) {
  const at = STEPS.findIndex(([one]) => one === current);
  const links = STEPS.map(([one, title], n) => step(n + 1, title, steps[one], Math.sign(n - at)));
  place.hidden = false;
  place.replaceChildren(
    el("nav", { class: "work-steps", "aria-label": `Steps of ${name}` }, el("p", { class: "work-name" }, name), el("div", { class: "steps" }, links)),
  );
}

/**
 * @param {number} number
 * @param {string} title
 * @param {Step} step
 * @param {number} side -1: before the current one
 */
function step(number, title, { href, note }, side) {
  const mark = el("b", {}, side < 0 && href ? icon("check") : number);
  const inner = [mark, title, note ? el("small", {}, note) : ""];
  if (!href && side) return el("span", { class: "step" }, inner);
  const own = { class: side < 0 ? "step done" : "step", "aria-current": side ? null : "step" };
  return href ? el("a", { href, ...own }, inner) : el("span", own, inner);
}
