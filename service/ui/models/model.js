// One model: how good it is, what it mixes up, its worst mistakes; the rest folded.

import { button, el, facts, picture, table } from "../lib/dom.js";
import { Fold } from "../lib/fold.js";
import { accuracy, bytes, count, milliseconds, percent, seconds, when } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { imagesOf, listable, Thumbnails } from "../photos/thumbnails.js";
import { confusion, mixedUp } from "./confusion_matrix.js";
import { oneImage, servedSize, serves } from "./models.js";
import { serve } from "./promotion.js";
import { report } from "./report.js";
import { resultCard } from "./result.js";
import { tags } from "./tags.js";
import { useIt } from "./use.js";

const COVERED = 8; // classes that have a photo beside their name

/** @param {ViewContext} context */
export async function modelView({ main, api, signal, fail, steps, id }) {
  /** @type {ModelView} */
  const model = await api.get(`models/${id}`, signal);
  steps(model.name, "train", {
    photos: { href: `#/datasets/${model.dataset}` },
    train: { note: `${model.test.correct} of ${model.test.images} right` },
    try: { href: `#/try?model=${model.id}` },
  });
  const said = el("p", { role: "status" });
  const promote = () => serve(api, signal, model, said).catch(fail);
  const [worst, covers] = await Promise.all([mistakes(api, signal, model), coversOf(api, signal, model)]);
  main.replaceChildren(
    el(
      "div",
      { class: "title" },
      el("h1", {}, `${model.name}, version ${model.version}`),
      tags(model),
      el("span", { class: "soft" }, `${model.recipe.preset ?? model.network} · ${when(model.created_at)}`),
      el(
        "span",
        { class: "row tight push" },
        report(api, signal, fail, model),
        serves(model) || model.files_deleted_at ? "" : button("Let it answer", promote),
        model.files_deleted_at ? "" : el("a", { class: "button primary", href: `#/try?model=${model.id}` }, "Try it", icon("right")),
      ),
    ),
    said,
    el("div", { class: "split seven" }, resultCard(model), mixUps(model, covers)),
    section("Worst mistakes", worst),
    el(
      "div",
      { class: "below" },
      model.files_deleted_at ? "" : new Fold("Use it", useIt(api, fail, model), "curl, Python, JavaScript, files").node,
      model.per_class.length ? new Fold("Each class", perClass(model), count(model.classes.length, "class")).node : "",
      new Fold("Speed, size and settings", facts(record(model)), [milliseconds(oneImage(model)), bytes(servedSize(model)), model.network].filter(Boolean).join(" · ")).node,
    ),
  );
}

/**
 * @param {ModelView} model
 * @param {import("./confusion_matrix.js").Covers} covers
 */
function mixUps(model, covers) {
  const shown = confusion(model, covers);
  const [most] = mixedUp(model.confusion_matrix);
  const { classes } = model;
  const text = most ? `${most.count} of ${most.of} photos of “${classes[most.truth]}” were called “${classes[most.answer]}”.` : "Nothing, on these photos.";
  return shown && el("section", { class: "card stack", "aria-label": "Confusion matrix" }, el("div", {}, el("h2", {}, "What it mixes up"), el("p", { class: "soft small" }, text)), shown);
}

/**
 * Find a photo of each class, unless there are many, or nobody uploaded the data set.
 *
 * @param {ApiClient} api
 * @param {AbortSignal} signal
 * @param {ModelView} model
 * @returns {Promise<import("./confusion_matrix.js").Covers>}
 */
async function coversOf(api, signal, { classes, dataset }) {
  const name = dataset.split("/")[0];
  if (classes.length > COVERED || !(await listable(api, signal)).has(name)) return new Map();
  const thumbnails = new Thumbnails(api, signal);
  const found = await Promise.all(classes.map((label) => imagesOf(api, signal, dataset, { class: label, limit: "1" }).catch(() => null)));
  const pairs = classes.flatMap((label, n) => {
    const [image] = found[n]?.data ?? [];
    return image ? [/** @type {[string, HTMLImageElement]} */ ([label, Object.assign(thumbnails.draw(image), { alt: "" })])] : [];
  });
  return new Map(pairs);
}

/**
 * @param {ModelView} model
 * @returns {Fact[]}
 */
export function record(model) {
  const { calibration, serving } = model;
  return [
    ["data set", model.dataset],
    ["network", model.network],
    ["test accuracy", accuracy(model.test)],
    ["calibration error", percent(calibration?.ece_after)],
    ["one image", milliseconds(oneImage(model))],
    ...batches(model),
    ["size", bytes(servedSize(model))],
    ["precision", serving?.precision],
    ["why", serving?.reason && el("span", { class: "long" }, serving.reason)],
    ["trained for", seconds(model.timing.train_s)],
    ["trained on", model.device.name || model.device.type],
    ["published", when(model.created_at)],
    ["job", el("a", { href: `#/jobs/${model.job_id}`, class: "id" }, model.job_id)],
  ];
}

/**
 * List the times of larger batches, in the graph that serves.
 *
 * @param {ModelView} model
 * @returns {Fact[]}
 */
function batches({ serving }) {
  const times = Object.entries(serving?.latency_ms?.[serving.precision] ?? {}).filter(([images]) => images !== "1");
  return times.map(([images, ms]) => [`${images} images`, milliseconds(ms)]);
}

/** @type {(title: string, content: HTMLElement | null) => HTMLElement | string} */
const section = (title, content) => (content ? el("section", { class: "below" }, el("h2", {}, title), content) : "");

/** @param {ModelView} model */
function perClass({ per_class: classes }) {
  if (!classes.length) return null;
  const rows = classes.map((one) => [
    one.label,
    String(one.images),
    ...[one.precision, one.recall, one.f1].map((share) => percent(share) || "–"),
  ]);
  return table("Precision and recall of each class", ["Class", "Images", "Precision", "Recall", "F1"], rows);
}

/**
 * Show the worst mistakes as pictures; null where the model has no report any more.
 *
 * @param {ApiClient} api
 * @param {AbortSignal} signal
 * @param {ModelView} model
 */
export async function mistakes(api, signal, model) {
  if (!model.files["report.json"] || model.files_deleted_at) return null;
  /** @type {Report} */
  const { mistakes: worst } = await api.get(`models/${model.id}/report`, signal);
  if (!worst.length) return el("p", {}, "None on the test set.");
  /** @param {Report["mistakes"][number]} mistake */
  const shown = ({ png, truth, answer }) =>
    el(
      "li",
      {},
      picture(png, `Image of ${truth.label}, taken for ${answer.label}`, { class: "pixels" }),
      el("p", {}, el("b", {}, `Said ${answer.label}`), `, ${percent(answer.probability, 0)} sure. It is `, el("b", {}, truth.label), "."),
    );
  return el("ul", { class: "mistakes" }, worst.map(shown));
}
