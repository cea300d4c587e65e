// The learning curves of a job, drawn anew as epochs come.

import { chart } from "./chart.js";
import { el } from "./dom.js";
import { number } from "./format.js";

const PARTS = ["train", "validation"];
const CURVES = [
  ["Loss", "loss", undefined],
  ["Accuracy", "accuracy", (share) => `${number(100 * share, 1)} %`],
];

export class Curves {
  constructor(history) {
    this.node = el("div", { class: "pair" });
    this.epochs = new Map(history.map((one) => [one.epoch, one]));
    this.waiting = false;
    this.#draw();
  }

  /** An attempt may repeat an epoch: the later record stands. Many at once are drawn once. */
  add(metrics) {
    this.epochs.set(metrics.epoch, metrics);
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.waiting = false;
    const epochs = [...this.epochs.values()].sort((a, b) => a.epoch - b.epoch);
    const points = (name) => epochs.map((one) => [one.epoch, one[name]]);
    const series = (name) => PARTS.map((part) => ({ name: part, points: points(`${part}_${name}`) }));
    this.node.replaceChildren(...CURVES.map(([title, name, show]) => chart(title, "epoch", series(name), show)));
  }
}
