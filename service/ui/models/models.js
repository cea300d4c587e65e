// The models: which serves, what each is worth; two of them can be chosen to compare.

import { button, el, table } from "../lib/dom.js";
import { bytes, milliseconds, range, right, title } from "../lib/format.js";
import { serve } from "./promotion.js";
import { tags } from "./tags.js";

const HEAD = ["Model", "Compare", "Right", "Data set", "Network", "One photo", "Size", "", ""];

/** @param {ViewContext} context */
export async function modelsView(context) {
  const { main, api, signal, fail, query } = context;
  const after = query.get("after");
  /** @type {ModelPage} */
  const page = await api.get(after ? `models?after=${encodeURIComponent(after)}` : "models", signal);
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
  const rows = page.data.map((model) => row(model, choose, promote));
  const before = lastServed(page.data);
  main.replaceChildren(
    el("h1", {}, "Models"),
    page.data.length || after ? "" : el("p", {}, "No model yet. ", el("a", { href: "#/new" }, "Train one"), "."),
    said,
    el(
      "p",
      { class: "actions" },
      before.map((one) => button(`Back to ${title(one)}`, () => promote(one))),
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
 * Find what answered for each name before the version that serves now.
 *
 * @param {ModelView[]} models
 */
function lastServed(models) {
  const served = models.filter((one) => one.served_at && !serves(one) && !one.files_deleted_at);
  /** @param {ModelView} model */
  const since = (model) => model.served_at ?? "";
  /** @type {Map<string, ModelView>} */
  const last = new Map();
  for (const one of served.sort((a, b) => since(a).localeCompare(since(b)))) last.set(one.name, one);
  return [...last.values()];
}

/** @param {ModelView} model */
export const serves = (model) => model.aliases.includes("serving");

/**
 * @typedef {(id: string, is: boolean) => void} Choose
 * @typedef {(model: ModelView) => unknown} Promote
 */

/**
 * @param {ModelView} model
 * @param {Choose} choose
 * @param {Promote} promote
 */
function row(model, choose, promote) {
  const box = el("input", { type: "checkbox", ...named(`Compare ${title(model)}`) });
  box.addEventListener("change", () => choose(model.id, box.checked));
  return [
    el("a", { href: `#/models/${model.id}` }, title(model)),
    box,
    [right(model.test), el("br"), el("small", { class: "soft" }, `${range(model.test)} expected`)],
    model.dataset,
    model.network,
    milliseconds(oneImage(model)) || "–",
    bytes(servedSize(model)) || "–",
    el("span", { class: "row tight" }, tags(model)),
    serves(model) || model.files_deleted_at ? "" : button("Let it answer", () => promote(model), named(`Let ${title(model)} answer`)),
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
