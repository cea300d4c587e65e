// One model: its record, its confusion matrix, and its worst mistakes as pictures.

import { button, el, facts, picture, table } from "../lib/dom.js";
import { accuracy, bytes, milliseconds, percent, seconds, title, when } from "../lib/format.js";
import { confusion } from "./confusion_matrix.js";
import { oneImage, servedSize, serves } from "./models.js";
import { serve } from "./promotion.js";
import { report } from "./report.js";

/** @param {ViewContext} context */
export async function modelView({ main, api, signal, fail, id }) {
  /** @type {ModelView} */
  const model = await api.get(`models/${encodeURIComponent(id)}`, signal);
  const said = el("p", { role: "status" });
  const promote = () => serve(api, signal, model, said).catch(fail);
  main.replaceChildren(
    el("h1", {}, `${title(model)} `, model.aliases.map((name) => el("span", { class: "badge" }, name))),
    said,
    el(
      "p",
      { class: "actions" },
      serves(model) || model.files_deleted_at ? "" : button("Serve this model", promote, { class: "primary" }),
      model.files_deleted_at ? "" : el("a", { class: "button", href: `#/try?model=${model.id}` }, "Try it"),
      report(api, signal, fail, model),
    ),
    facts(record(model)),
    section("Confusion matrix", confusion(model)),
    section("Classes", perClass(model)),
    section("Worst mistakes", await mistakes(api, signal, model)),
  );
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
const section = (title, content) => (content ? el("section", {}, el("h2", {}, title), content) : "");

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
      el("span", {}, `${truth.label} → ${answer.label}`),
      el("span", { class: "hint" }, percent(answer.probability, 0)),
    );
  return el("ul", { class: "mistakes" }, worst.map(shown));
}
