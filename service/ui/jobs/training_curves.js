// The learning curves of a job, drawn anew as its epochs come, its steps, and what its row says in between.

import { chart } from "../lib/chart.js";
import { el } from "../lib/dom.js";
import { number } from "../lib/format.js";

const PARTS = ["train", "validation"];
const CURVES = [
  ["Loss", "loss", undefined, (records) => 2 * Math.max(...known(records, "train_loss"))],
  ["Accuracy", "accuracy", (share) => `${number(100 * share, 1)} %`],
];

export class Curves {
  constructor() {
    this.node = el("div", { class: "pair" });
    this.records = []; // of epochs and steps, in the order of the training
    this.now = null;
    this.waiting = false;
    this.#draw();
  }

  /** What an attempt did over again takes the place of all from there on. */
  add(record) {
    while (this.records.length && place(this.records.at(-1)) >= place(record)) this.records.pop();
    this.records.push(record);
    this.#drawSoon();
  }

  /** How far the job is by its row. */
  update({ phase, progress, metrics }) {
    const { train_loss, train_accuracy } = metrics;
    const now = phase === "training" && progress.steps ? { ...progress, train_loss, train_accuracy } : null;
    if (JSON.stringify(now) === JSON.stringify(this.now)) return;
    this.now = now;
    this.#drawSoon();
  }

  /** Many at once are drawn once. */
  #drawSoon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.waiting = false;
    const last = this.records.length ? place(this.records.at(-1)) : 0;
    const records = this.now && place(this.now) > last ? [...this.records, this.now] : this.records;
    const point = (record, name) => ({ x: place(record), y: record[name], dot: !record.steps || record === this.now });
    const series = (name) => PARTS.map((part) => ({ name: part, points: records.map((one) => point(one, `${part}_${name}`)) }));
    const drawn = CURVES.map(([title, name, show, top]) => chart(title, "epoch", series(name), { show, top: top?.(records) }));
    this.node.replaceChildren(...drawn);
  }
}

/** In epochs. */
const place = ({ epoch, epochs, step, steps }) => (steps ? (step * epochs) / steps : epoch);
const known = (records, name) => records.map((one) => one[name]).filter((value) => value != null);
