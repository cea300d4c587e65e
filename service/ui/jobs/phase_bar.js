// The phases of a job as one bar, each as long as it takes.

import { el } from "../lib/dom.js";
import { PHASES, weights } from "./outlook.js";
import { phaseName } from "./words.js";

export class PhaseBar {
  constructor() {
    this.node = el("ol", { class: "phases" });
    this.tracks = PHASES.map(() => el("i", {}));
    this.names = PHASES.map(() => el("span", {}));
    this.items = PHASES.map((_, n) => el("li", {}, el("div", { class: "track" }, this.tracks[n]), this.names[n]));
    this.node.append(...this.items);
  }

  /**
   * @param {JobView} job
   * @param {import("./outlook.js").Lengths} like
   */
  update(job, like) {
    const done = job.status === "succeeded" ? PHASES.length : PHASES.indexOf(job.phase ?? "starting");
    const percent = job.status === "succeeded" ? 100 : Math.round(job.progress.percent ?? 0);
    const lengths = weights(job, like);
    this.node.setAttribute("aria-label", `${percent} % of the training is done`);
    for (const [n, item] of this.items.entries()) {
      item.style.setProperty("--weight", String(lengths[n]));
      item.className = n < done ? "done" : n === done ? "now" : "";
      item.toggleAttribute("aria-current", n === done);
      this.tracks[n].style.setProperty("--share", String(n < done ? 1 : n === done ? share(job, percent) : 0));
      this.names[n].textContent = text(job, PHASES[n], Math.sign(n - done));
    }
  }
}

/**
 * Say how far the current phase is. Only training knows; the others are shown as begun.
 *
 * @param {JobView} job
 * @param {number} percent
 */
const share = ({ phase }, percent) => (phase === "training" ? percent / 100 : 0.35);

/**
 * @param {JobView} job
 * @param {Phase} phase
 * @param {number} side -1: it is over
 */
function text({ progress, recipe }, phase, side) {
  const of = progress.epochs && recipe.optimizer !== "lbfgs" ? `, epoch ${progress.epoch ?? 0} of ${progress.epochs}` : "";
  return `${phaseName(phase, side < 0)}${phase === "training" && !side ? of : ""}`;
}
