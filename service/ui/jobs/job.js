// One job: how far it is, its curves, what can be done with it, and its story.

import { Curves } from "./training_curves.js";
import { el, facts } from "../lib/dom.js";
import { accuracy, bytes, figures, number, percent, seconds, when, words } from "../lib/format.js";
import { JobButtons } from "./job_actions.js";
import { badge, state } from "./jobs.js";
import { LogTail } from "./log_tail.js";
import { Story } from "./timeline.js";
import { follow } from "../lib/stream.js";
import { every } from "../lib/time.js";

const LOOK_MS = 1_000; // between events only the row tells how far it is
const ENDED = ["succeeded", "failed", "cancelled"];

/** @param {ViewContext} context */
export async function jobView({ main, api, signal, fail, id }) {
  const path = `jobs/${encodeURIComponent(id)}`;
  /** @type {JobView} */
  const job = await api.get(path, signal);
  const curves = new Curves();
  const story = new Story();
  const log = new LogTail(api, path, signal);
  const buttons = new JobButtons(api, path, update, fail);
  const title = el("h1", {});
  const progress = new ProgressBar();
  const [failure, details] = [el("div", {}), el("div", {})];

  /** @param {JobView} now */
  function update(now) {
    title.replaceChildren(now.name || now.id, " ", badge(state(now)));
    progress.update(now);
    buttons.update(now);
    showFailure(failure, now);
    details.replaceChildren(facts(known(now)));
    curves.update(now);
    story.update(now);
    log.update(now);
    return !ENDED.includes(now.status);
  }

  update(job);
  main.replaceChildren(title, progress.node, buttons.node, failure, curves.node, details, log.node, story.node);
  every(LOOK_MS, signal, async () => update(await api.get(path, signal))).catch(fail);
  listen(follow(api, `${path}/events`, signal), story, curves).catch(fail);
}

/**
 * @param {AsyncIterable<JobEvent>} events
 * @param {Story} story
 * @param {Curves} curves
 */
async function listen(events, story, curves) {
  for await (const event of events) {
    story.add(event);
    if (event.event === "metrics" || event.event === "step") curves.add(event.data);
  }
}

/** The bar moves quietly; what is said aloud changes once an epoch or a phase. */
class ProgressBar {
  constructor() {
    this.bar = el("progress", { max: "100", "aria-label": "Progress" });
    this.said = el("p", { role: "status" });
    this.done = el("p", { class: "hint" });
    this.node = el("div", {}, this.bar, this.said, this.done);
  }

  /** @param {JobView} job */
  update(job) {
    this.bar.hidden = job.status === "failed" || job.status === "cancelled";
    this.bar.value = job.status === "succeeded" ? 100 : (job.progress.percent ?? 0);
    const sentence = doing(job);
    if (this.said.textContent !== sentence) this.said.textContent = sentence;
    this.done.textContent = job.status === "running" ? `${job.progress.percent ?? 0} %` : "";
  }
}

/** @param {JobView} job */
function doing(job) {
  const { epoch, epochs } = job.progress;
  if (job.pausing) return "Pauses once its checkpoint is written.";
  if (job.status === "queued") return "Waits for a worker.";
  if (job.status === "paused") return "Paused. Resume it to go on from its last checkpoint.";
  if (job.status === "cancelling") return "Stops within seconds.";
  if (ENDED.includes(job.status)) return `Ended ${when(job.finished_at)}.`;
  const done = job.phase === "training" && epochs ? `: epoch ${epoch} of ${epochs}` : "";
  return `${words(job.phase || "starting")}${done}`;
}

/**
 * Say how long its training still takes.
 *
 * @param {JobView} job
 */
function remaining({ status, phase, estimated_finish: finish }) {
  if (status !== "running" || phase !== "training" || !finish) return null;
  return `about ${seconds(Math.max(0, (Date.parse(finish) - Date.now()) / 1000))}`;
}

/**
 * Show why it failed. Drawn anew only where it is another error: the traceback may be open.
 *
 * @param {HTMLElement} place
 * @param {JobView} job
 */
function showFailure(place, { error, status }) {
  const now = JSON.stringify([error, status]);
  if (!error || place.dataset.shown === now) return;
  place.dataset.shown = now;
  const section = el(
    "section",
    { class: "failure", role: status === "failed" ? "alert" : null },
    el("h2", {}, status === "failed" ? "Why it failed" : "The last attempt died"),
    el("p", {}, el("code", {}, error.code), " ", error.message),
    el("p", {}, error.hint),
    error.traceback_tail && el("details", {}, el("summary", {}, "Traceback"), el("pre", {}, error.traceback_tail)),
  );
  place.replaceChildren(section);
}

/**
 * @param {JobView} job
 * @returns {Fact[]}
 */
function known(job) {
  const { metrics, timing, device, recipe, resolved_recipe: ran } = job;
  return [
    ["data set", recipe.dataset],
    ["network", recipe.network],
    ["time left", remaining(job)],
    ["test accuracy", accuracy(metrics.test)],
    ["validation accuracy", percent(metrics.validation_accuracy)],
    ["train loss", figures(metrics.train_loss)],
    ["train accuracy", percent(metrics.train_accuracy)],
    ["speed", timing.images_per_s && `${number(timing.images_per_s)} images/s`],
    ["device", device.name || device.type],
    ["peak memory", device.peak_memory_bytes ? bytes(device.peak_memory_bytes) : null],
    ["batch size", ran?.batch_size],
    ["learning rate", ran && number(ran.learning_rate, 5)],
    ["precision", ran?.precision],
    ["queued for", seconds(timing.queued_s)],
    ["trained for", seconds(timing.train_s)],
    ["attempt", job.attempt || null],
    ["model", job.model_id && el("a", { href: `#/models/${job.model_id}`, class: "id" }, job.model_id)],
  ];
}
