// One job: how it is going and when it ends; why it waits, or failed, and what to do; its curves; the rest folded.

import { el, facts } from "../lib/dom.js";
import { Fold } from "../lib/fold.js";
import { accuracy, ago, bytes, figures, number, percent, range, right, roughly, seconds, when } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { follow } from "../lib/stream.js";
import { every } from "../lib/time.js";
import { Failure } from "./failure.js";
import { JobButtons } from "./job_actions.js";
import { LogTail } from "./log_tail.js";
import { lengthsLike, secondsLeft } from "./outlook.js";
import { PhaseBar } from "./phase_bar.js";
import { Story } from "./timeline.js";
import { Curves } from "./training_curves.js";
import { QueuePlace } from "./waiting.js";
import { nameOf, phaseName, stateTag } from "./words.js";

const LOOK_MS = 1_000; // between events only the row has the progress
const ENDED = ["succeeded", "failed", "cancelled"];

/** @param {ViewContext} context */
export async function jobView(context) {
  const { main, api, signal, fail, draft, id } = context;
  const path = `jobs/${encodeURIComponent(id)}`;
  /** @type {[JobView, JobPage]} */
  const [job, past] = await Promise.all([api.get(path, signal), api.get("jobs?status=succeeded&limit=50", signal)]);
  if (signal.aborted) return;
  const screen = new JobScreen(context, path, lengthsLike(job, past.data));
  screen.update(job);
  main.replaceChildren(...screen.nodes(draft.warnings.splice(0)));
  every(LOOK_MS, signal, async () => screen.update(await api.get(path, signal))).catch(fail);
  listen(follow(api, `${path}/events`, signal), screen.story, screen.curves).catch(fail);
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

class JobScreen {
  /**
   * @param {ViewContext} context
   * @param {string} path
   * @param {import("./outlook.js").Lengths} like
   */
  constructor({ api, signal, fail, steps }, path, like) {
    this.steps = steps;
    this.like = like;
    this.headline = el("h1", {});
    this.state = el("span", { role: "status" });
    this.said = el("span", { class: "soft" });
    this.buttons = new JobButtons(api, path, (job) => this.update(job), fail);
    this.queue = new QueuePlace(api, signal);
    this.phases = new PhaseBar();
    this.failure = new Failure(api, fail);
    this.curves = new Curves();
    this.details = new Fold("Settings and figures", "");
    this.log = new LogTail(api, path, signal);
    this.story = new Story();
  }

  /** @param {string[]} warnings */
  nodes(warnings) {
    const notices = warnings.map((text) => el("div", { class: "notice look" }, icon("warning"), el("p", {}, text)));
    return [
      el("div", { class: "title" }, this.headline, this.state, this.said, this.buttons.node),
      el("div", { class: "stack" }, notices, this.queue.node, this.phases.node, this.failure.node, this.curves.node),
      el("div", { class: "below" }, this.details.node, this.log.node, this.story.node),
    ];
  }

  /** @param {JobView} job */
  update(job) {
    this.queue.update(job);
    write(this.headline, headline(job, this.like, this.queue.headline));
    if (this.state.textContent !== stateTag(job).textContent) this.state.replaceChildren(stateTag(job));
    write(this.said, said(job));
    this.phases.update(job, this.like);
    this.phases.node.hidden = job.status === "failed" || job.status === "cancelled" || job.status === "queued";
    this.buttons.update(job);
    this.failure.update(job);
    this.curves.update(job);
    this.details.node.lastElementChild?.replaceChildren(facts(known(job)));
    write(this.details.inside, summary(job));
    this.story.update(job);
    this.log.update(job);
    this.steps(job.recipe.model || job.recipe.dataset.split("/")[0], "train", stepsOf(job));
    document.title = `${nameOf(job)} · tuneserve`;
    return !ENDED.includes(job.status);
  }
}

/**
 * @param {HTMLElement} node
 * @param {string} text
 */
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Say first how it is going, and when it ends.
 *
 * @param {JobView} job
 * @param {import("./outlook.js").Lengths} like
 * @param {string} place in the queue
 */
function headline(job, like, place) {
  const { status, metrics, phase, error } = job;
  if (status === "succeeded") return metrics.test ? right(metrics.test) : "Done";
  if (status === "failed") return error && !job.phases.some((one) => one.phase === "training") ? "Training could not start" : "Training failed";
  if (status === "cancelled") return "Stopped";
  if (status === "queued") return place;
  if (status === "paused") return "Paused";
  if (status === "cancelling") return "Stops within seconds";
  if (job.pausing) return "Pauses once its checkpoint is written";
  const left = secondsLeft(job, like, Date.now());
  const now = phaseName(phase ?? "starting");
  return left === null ? now : `${roughly(left).replace("about", "About")} left`;
}

/** @param {JobView} job */
function said(job) {
  const { status, metrics, started_at: from, finished_at: to, phase } = job;
  const message = status === "running" && phase === "publishing" ? "checking the copy that will answer" : "";
  const expect = metrics.test ? `Expect ${range(metrics.test)}` : "";
  const time = to ? `ended ${ago(to)}` : from ? `started ${ago(from)}` : `created ${ago(job.created_at)}`;
  return [nameOf(job), expect, message, time].filter(Boolean).join(" · ");
}

/**
 * @param {JobView} job
 * @returns {Steps}
 */
function stepsOf({ recipe, model_id: model }) {
  return {
    photos: { href: `#/datasets/${recipe.dataset.split("/")[0]}` },
    train: {},
    try: { href: model ? `#/try?model=${model}` : undefined },
  };
}

/** @param {JobView} job */
const summary = ({ recipe, resolved_recipe: ran }) =>
  [recipe.network, ran && `batch ${ran.batch_size}`, ran && `learning rate ${number(ran.learning_rate, 5)}`].filter(Boolean).join(" · ");

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
 * @param {JobView} job
 * @returns {Fact[]}
 */
function known(job) {
  const { metrics, timing, device, recipe, resolved_recipe: ran } = job;
  return [
    ["data set", recipe.dataset],
    ["network", recipe.network],
    ["time left", remaining(job)],
    ["right on test photos", accuracy(metrics.test)],
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
    ["ended", when(job.finished_at)],
    ["attempt", job.attempt || null],
    ["model", job.model_id && el("a", { href: `#/models/${job.model_id}`, class: "id" }, job.model_id)],
  ];
}
