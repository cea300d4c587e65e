// Try it: photos dropped, pasted, chosen or photographed, and what the model says of each. Digits can be drawn.

import { Problem } from "../lib/api.js";
import { button, el, onDrop } from "../lib/dom.js";
import { title } from "../lib/format.js";
import { readiness } from "../health.js";
import { hasCamera, photograph } from "../photos/camera.js";
import { chooser } from "../photos/choosers.js";
import { listable } from "../photos/thumbnails.js";
import { Classifier } from "./classifier.js";
import { Corrections } from "./correction.js";
import { Pad } from "./drawing_pad.js";

const CLASSES = "10"; // at most
const IMAGES = { accept: "image/*,.heic,.heif", multiple: true };

/** @param {ViewContext} context */
export async function tryView({ main, api, signal, fail, query, steps }) {
  const [{ data }, answers, own] = await Promise.all([models(api, signal), answering(), listable(api, signal)]);
  if (signal.aborted) return;
  const options = new Options(data, query.get("model"), answers, changed);
  const corrections = new Corrections(api, signal, fail, own);
  const classifier = new Classifier(api, signal, { query: () => options.query(), correct: (photo) => corrections.offer(options.selected, photo) });
  const pad = new Pad(async () => classifier.classify([await pad.image()], true));
  const clear = () => {
    pad.clear();
    classifier.forget();
  };
  const sheet = el("div", { class: "sheet-to-draw" }, pad.node, el("p", { class: "actions" }, button("Clear", clear), el("span", { class: "hint" }, "Draw a digit here.")));
  /** @param {GivenFile[]} files */
  const take = (files) => classifier.classify(files.map(([, file]) => file));
  const zone = el(
    "section",
    { class: "drop stack tight", "aria-label": "Your photos" },
    sheet,
    el("p", { class: "row" }, chooser("Choose photos", IMAGES, take, { image: "photos" }), photo(take, signal)),
    classifier.tiles,
  );
  function changed() {
    sheet.hidden = options.selected?.preparation.style !== "digit";
    if (options.selected) steps(options.selected.name, "try", stepsOf(options.selected));
    classifier.again();
  }
  changed();
  onDrop(zone, (transfer) => take(images(transfer)));
  document.addEventListener("paste", ({ clipboardData }) => take(images(clipboardData)), { signal });
  main.replaceChildren(
    el("div", { class: "title" }, el("h1", {}, options.selected ? `Try ${options.selected.name}` : "Try it"), options.node),
    el("div", { class: "try" }, zone, classifier.node),
  );
}

/**
 * @param {ModelView} model
 * @returns {Steps}
 */
const stepsOf = ({ id, dataset, test }) => ({
  photos: { href: `#/datasets/${dataset.split("/")[0]}` },
  train: { href: `#/models/${id}`, note: `${test.correct} of ${test.images} right` },
  try: {},
});

/**
 * List the models. A key with the scope predict may use the one that answers, and not list the others.
 *
 * @param {ApiClient} api
 * @param {AbortSignal} signal
 * @returns {Promise<ModelPage>}
 */
async function models(api, signal) {
  try {
    return await api.get("models?limit=100", signal);
  } catch (error) {
    if (error instanceof Problem && error.status === 403) return { data: [], has_more: false, next: null };
    throw error;
  }
}

/** Find the id of the model that answers where none is named. */
const answering = async () => (await readiness().catch(() => null))?.checks.model.model_id;

/** Which model answers, and whether it explains. */
class Options {
  /**
   * @param {ModelView[]} all
   * @param {string | null} chosen the id of the model that is selected at first
   * @param {string | undefined} answers the id of the model that answers where none is named
   * @param {() => void} changed
   */
  constructor(all, chosen, answers, changed) {
    this.models = all.filter((one) => !one.files_deleted_at);
    this.answers = answers;
    /** @param {ModelView} model */
    const described = (model) => `${title(model)} · ${model.network} on ${model.dataset}`;
    const choices = this.models.map((one) => el("option", { value: one.id, selected: one.id === chosen }, described(one)));
    this.model = el("select", { id: "model", name: "model" }, el("option", { value: "" }, "what answers now"), choices);
    this.explain = el("input", { type: "checkbox", name: "explain" });
    this.node = el(
      "form",
      { class: "row push", on: { change: changed, submit: (event) => event.preventDefault() } },
      el("label", { for: "model" }, "Model"),
      this.model,
      el("label", { class: "switch" }, this.explain, "Show where it looks"),
    );
  }

  /** The selected model, as far as it can be seen. */
  get selected() {
    return this.models.find((one) => one.id === (this.model.value || this.answers));
  }

  query() {
    const whole = String(this.explain.checked || this.selected?.preparation.style === "digit");
    const query = new URLSearchParams({ include_input: whole, top_k: CLASSES, explain: String(this.explain.checked) });
    if (this.model.value) query.set("model", this.model.value);
    return query;
  }
}

/**
 * Take a photo by the camera's own program on a phone, in a dialog elsewhere, and from a file without a camera.
 *
 * @param {(files: GivenFile[]) => unknown} take
 * @param {AbortSignal} signal
 */
function photo(take, signal) {
  const file = chooser("Take a photo", { accept: "image/*", capture: "environment" }, take, { image: "camera" });
  if (matchMedia("(pointer: coarse)").matches || !hasCamera()) return file;
  const press = button("Take a photo", async () => {
    try {
      const taken = await photograph(signal);
      if (taken) take([[taken.name, taken]]);
    } catch {
      press.replaceWith(file);
      file.after(el("p", { class: "hint", role: "status" }, "No camera can be used here; choose a photo as a file."));
    }
  });
  return press;
}

/**
 * @param {DataTransfer | null} transfer
 * @returns {GivenFile[]}
 */
const images = (transfer) =>
  [...(transfer?.files ?? [])].filter((file) => file.type.startsWith("image/")).map((file) => [file.name, file]);
