// The models: which serves, what each is worth; two of them can be chosen to compare.

import { button, el, table } from "../lib/dom.js";
import { bytes, milliseconds, percent } from "../lib/format.js";
import { serve } from "./promotion.js";

const HEAD = ["Version", "Compare", "Data set", "Network", "Test accuracy", "One image", "Size", "Aliases", ""];

/** @param {ViewContext} context */
export async function modelsView(context) {
  const { main, api, signal, fail, query } = context;
  const after = query.get("after");
  const [page, aliases] = await Promise.all([
    /** @type {Promise<ModelPage>} */ (api.get(after ? `models?after=${encodeURIComponent(after)}` : "models", signal)),
    /** @type {Promise<{ data: AliasView[] }>} */ (api.get("models/aliases", signal)),
  ]);
  const serving = aliases.data.find((one) => one.name === "serving");
  const said = el("p", { role: "status" });
  /** @type {Set<string>} */
  const chosen = new Set();
  const go = () => {
    location.hash = `#/compare?of=${[...chosen].join(",")}`;
  };
  const compare = button("Compare", go, { disabled: true });
  /** @type {Choose} */
  const choose = (id, is) => {
    chosen[is ? "add" : "delete"](id);
    compare.disabled = chosen.size !== 2;
  };
  const again = () => modelsView(context);
  /** @type {Promote} */
  const promote = (model) => serve(api, signal, model, said).then(again).catch(fail);
  const rows = page.data.map((model) => row(model, serving, choose, promote));
  const before = lastServed(page.data, serving);
  main.replaceChildren(
    el("h1", {}, "Models"),
    page.data.length || after ? "" : el("p", {}, "No model yet. ", el("a", { href: "#/train" }, "Train one"), "."),
    said,
    el(
      "p",
      { class: "actions" },
      before && button(`Roll back to version ${before.version}`, () => promote(before)),
      rows.length > 1 && [compare, el("span", { class: "hint" }, "Choose two.")],
    ),
    rows.length ? table("Models, newest first", HEAD, rows) : "",
    el(
      "p",
      { class: "actions" },
      after && el("a", { href: "#/models" }, "Newest"),
      page.has_more && el("a", { href: `#/models?after=${page.next}` }, "Older"),
    ),
  );
}

/**
 * Find what answered before the one that serves now.
 *
 * @param {ModelView[]} models
 * @param {AliasView | undefined} serving
 */
function lastServed(models, serving) {
  const served = models.filter((one) => one.served_at && one.id !== serving?.model_id && !one.files_deleted_at);
  /** @param {ModelView} model */
  const since = (model) => model.served_at ?? "";
  return served.sort((a, b) => since(b).localeCompare(since(a)))[0];
}

/**
 * @typedef {(id: string, is: boolean) => void} Choose
 * @typedef {(model: ModelView) => unknown} Promote
 */

/**
 * @param {ModelView} model
 * @param {AliasView | undefined} serving
 * @param {Choose} choose
 * @param {Promote} promote
 */
function row(model, serving, choose, promote) {
  const version = `version ${model.version}`;
  const box = el("input", { type: "checkbox", ...named(`Compare ${version}`) });
  box.addEventListener("change", () => choose(model.id, box.checked));
  const serves = model.id === serving?.model_id;
  return [
    el("a", { href: `#/models/${model.id}` }, version),
    box,
    model.dataset,
    model.network,
    percent(model.test_accuracy),
    milliseconds(oneImage(model)) || "–",
    bytes(servedSize(model)) || "–",
    model.aliases.map((name) => [el("span", { class: `badge ${name === "serving" ? "running" : ""}` }, name), " "]),
    serves || model.files_deleted_at ? "" : button("Serve", () => promote(model), named(`Serve ${version}`)),
  ];
}

/** @param {string} words */
const named = (words) => ({ "aria-label": words });

/**
 * Say how many milliseconds one image takes on a CPU, in the graph that serves there.
 *
 * @param {ModelView} model
 */
export function oneImage({ serving }) {
  return serving?.latency_ms?.[serving.precision]?.["1"];
}

/** @param {ModelView} model */
export function servedSize({ serving, files }) {
  return files[serving?.file || "model.onnx"]?.size_bytes;
}
