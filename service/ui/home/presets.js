// The two ways to learn, Quick and Accurate: what each takes here, what it needs, and whether it can run now.

import { el } from "../lib/dom.js";
import { roughly } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { networkOf, secondsOf } from "./estimates.js";

/** @type {[preset: string, title: string, about: string][]} */
const PRESETS = [
  ["quick", "Quick", "Teaches a ready-made eye your classes. Start here."],
  ["accurate", "Accurate", "The whole network learns your photos. Worth it from 50 a class."],
];

export class Presets {
  /**
   * @param {NetworkView[]} networks
   * @param {DatasetSummary[]} datasets
   * @param {JobView[]} done
   */
  constructor(networks, datasets, done) {
    this.networks = networks;
    this.datasets = datasets;
    this.done = done;
    this.times = PRESETS.map(() => el("span", { class: "time" }));
    const choices = PRESETS.map((one, n) => this.#choice(one, this.times[n], n === 0));
    this.node = el("fieldset", { class: "stack tight" }, el("legend", { class: "unseen" }, "How it learns"), choices);
  }

  /** @param {number} photos */
  update(photos) {
    for (const [n, [preset]] of PRESETS.entries()) {
      const seconds = photos ? secondsOf(this.done, this.datasets, preset, photos) : null;
      this.times[n].textContent = seconds === null ? "" : roughly(seconds);
    }
  }

  /**
   * @param {[preset: string, title: string, about: string]} preset
   * @param {HTMLElement} time
   * @param {boolean} checked
   */
  #choice([preset, title, about], time, checked) {
    const { network, here } = networkOf(this.networks, preset);
    const own = { type: "radio", name: "preset", value: preset, checked, "aria-describedby": `${preset}-about` };
    const needs = here ? `All it needs is here: ${network}` : `Needs the weights of ${network}, which are not here`;
    return el(
      "label",
      { class: "choice" },
      el("input", own),
      el("b", {}, title),
      time,
      el("span", { class: "about", id: `${preset}-about` }, about),
      el("span", { class: "at-hand" }, icon(here ? "check" : "warning"), needs),
    );
  }
}
