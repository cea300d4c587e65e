// Why a job waits and until when; and why nothing trains, and what to do about it.

import { readiness } from "../health.js";
import { button, el } from "../lib/dom.js";
import { icon } from "../lib/icons.js";
import { every } from "../lib/time.js";
import { nameOf } from "./words.js";

const COMMAND = "tuneserve worker";
const LOOK_MS = 3_000;

/** Say that no worker is running, with the command that starts one. */
export function noWorker() {
  const copy = button("Copy", () => navigator.clipboard?.writeText(COMMAND).then(() => copy.replaceChildren("Copied")), { class: "push" });
  return el(
    "div",
    { class: "notice look", role: "status" },
    icon("warning"),
    el("p", {}, el("b", {}, "No worker is running, so nothing trains."), " Start one on this machine: ", el("code", {}, COMMAND)),
    copy,
  );
}

/** The place of a waiting job in the queue; empty for any other job. */
export class QueuePlace {
  /**
   * @param {ApiClient} api
   * @param {AbortSignal} signal
   */
  constructor(api, signal) {
    this.node = el("div", { "aria-live": "polite" });
    this.api = api;
    this.signal = signal;
    this.waits = false;
    this.headline = "Waiting";
  }

  /** @param {JobView} job */
  update(job) {
    const waits = job.status === "queued";
    if (waits === this.waits) return;
    this.waits = waits;
    if (waits) every(LOOK_MS, this.signal, () => this.#look(job)).catch(() => {});
    else this.node.replaceChildren();
  }

  /** @param {JobView} job */
  async #look(job) {
    if (!this.waits) return false;
    /** @type {Promise<JobPage>} */
    const queued = this.api.get("jobs?status=queued&limit=100", this.signal);
    /** @type {Promise<JobPage>} */
    const running = this.api.get("jobs?status=running&limit=100", this.signal);
    const [{ data: waiting }, { data: now }, ready] = await Promise.all([queued, running, readiness()]);
    if (!this.waits) return false;
    const ahead = waiting.filter((one) => one.id !== job.id && before(one, job));
    this.#show(ready.checks.worker.ok, ahead.length, now);
  }

  /**
   * @param {boolean} worker
   * @param {number} ahead
   * @param {JobView[]} running
   */
  #show(worker, ahead, running) {
    this.headline = ahead ? `Number ${ahead + 1} in line` : "Next in line";
    if (this.node.dataset.shown === `${worker} ${ahead} ${running[0]?.id}`) return;
    this.node.dataset.shown = `${worker} ${ahead} ${running[0]?.id}`;
    const jobs = ahead === 1 ? "1 job is" : `${ahead} jobs are`;
    const after = running.length ? ` It starts after ${nameOf(running[0])}.` : "";
    const why = ahead ? `${jobs} before it.` : after || " It starts within seconds.";
    const place = el("div", { class: "notice" }, icon("clock"), el("p", {}, el("b", {}, `${this.headline}.`), ` ${why}`));
    this.node.replaceChildren(worker ? place : noWorker());
  }
}

/**
 * Say whether a worker takes the one before the other: by priority, then by age.
 *
 * @param {JobView} one
 * @param {JobView} other
 */
function before(one, other) {
  const difference = Number(one.recipe.priority ?? 0) - Number(other.recipe.priority ?? 0);
  return difference ? difference > 0 : one.id < other.id;
}
