// The learning curves of a job, drawn anew as its epochs come, its steps, and what its row says in between.

import { chart } from "../lib/chart.js";
import { el } from "../lib/dom.js";
import { number } from "../lib/format.js";

/** @type {["train", "validation"]} */
const PARTS = ["train", "validation"];
const NAMES = { train: "learning", validation: "checking" };

export class Curves {
  constructor() {
    this.node = el("div", { class: "pair" });
    /** @type {TrainingRecord[]} of epochs and steps, in the order of the training */
    this.records = [];
    /** @type {TrainingRecord | null} */
    this.now = null;
    this.waiting = false;
    this.epochs = 0;
    this.#draw();
  }

  /**
   * Add an epoch or a step. What an attempt did over again takes the place of all from there on.
   *
   * @param {TrainingRecord} record
   */
  add(record) {
    while (this.records.length && place(this.records[this.records.length - 1]) >= place(record)) this.records.pop();
    this.records.push(record);
    this.#drawSoon();
  }

  /**
   * Add how far the job is by its row.
   *
   * @param {JobView} job
   */
  update({ phase, progress, metrics, status }) {
    this.epochs = progress.epochs ?? 0;
    const hasNone = !this.records.length && ["queued", "failed", "cancelled"].includes(status);
    this.node.hidden = hasNone || (this.epochs === 1 && status === "succeeded"); // one point is no curve
    const { train_loss, train_accuracy } = metrics;
    const now = phase === "training" && progress.steps ? { ...progress, train_loss, train_accuracy } : null;
    if (JSON.stringify(now) === JSON.stringify(this.now)) return;
    this.now = now;
    this.#drawSoon();
  }

  /** Draw once for many records at once. */
  #drawSoon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.waiting = false;
    const newest = this.records.length ? place(this.records[this.records.length - 1]) : 0;
    const records = this.now && place(this.now) > newest ? [...this.records, this.now] : this.records;
    /** @param {"loss" | "accuracy"} name */
    const series = (name) => PARTS.map((part) => ({ name: NAMES[part], points: records.map((one) => this.#point(one, `${part}_${name}`)) }));
    const shape = { last: this.epochs, best: best(records) };
    this.node.replaceChildren(
      el("div", { class: "card snug" }, chart("Share right", "epoch", series("accuracy"), { ...shape, show: (share) => `${number(100 * share, 1)} %` })),
      el("div", { class: "card snug" }, chart("Loss", "epoch", series("loss"), { ...shape, top: 2 * Math.max(...losses(records)) })),
    );
  }

  /**
   * @param {TrainingRecord} record
   * @param {keyof Metrics} name
   */
  #point(record, name) {
    return { x: place(record), y: record[name], dot: !record.steps || record === this.now };
  }
}

/**
 * Say how far the training was, in epochs.
 *
 * @param {TrainingRecord} record
 */
const place = ({ epoch = 0, epochs = 0, step = 0, steps }) => (steps ? (step * epochs) / steps : epoch);

/** @param {TrainingRecord[]} records */
const losses = (records) => records.flatMap(({ train_loss: loss }) => loss ?? []);

/**
 * Find the best epoch on the photos to check on: most right, then the lowest loss.
 *
 * @param {TrainingRecord[]} records
 */
function best(records) {
  const known = records.filter((one) => !one.steps && (one.validation_loss ?? one.validation_accuracy) != null);
  /** @type {(one: TrainingRecord) => [number, number]} */
  const worth = (one) => [one.validation_accuracy ?? 0, -(one.validation_loss ?? 0)];
  return known.sort((a, b) => worth(b)[0] - worth(a)[0] || worth(b)[1] - worth(a)[1]).at(0)?.epoch;
}
