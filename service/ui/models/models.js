// The models: which serves, what each is worth; two of them can be chosen to compare.

import { button, el, table } from "../lib/dom.js";
import { bytes, milliseconds, percent } from "../lib/format.js";
import { serve } from "./promotion.js";

const HEAD = ["Version", "Compare", "Data set", "Network", "Test accuracy", "One image", "Size", "Aliases", ""];

export async function modelsView({ main, api, signal, fail, query }) {
  const after = query.get("after");
  const [page, aliases] = await Promise.all([
    api.get(after ? `models?after=${encodeURIComponent(after)}` : "models", signal),
    api.get("models/aliases", signal),
  ]);
  const serving = aliases.data.find((one) => one.name === "serving");
  const said = el("p", { role: "status" });
  const chosen = new Set();
  const go = () => (location.hash = `#/compare?of=${[...chosen].join(",")}`);
  const compare = button("Compare", go, { disabled: true });
  const choose = (id, box) => {
    chosen[box.checked ? "add" : "delete"](id);
    compare.disabled = chosen.size !== 2;
  };
  const again = () => modelsView({ main, api, signal, fail, query });
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

/** What answered before the one that serves now. */
function lastServed(models, serving) {
  const served = models.filter((one) => one.served_at && one.id !== serving?.model_id && !one.files_deleted_at);
  return served.sort((a, b) => b.served_at.localeCompare(a.served_at))[0];
}

function row(model, serving, choose, promote) {
  const version = `version ${model.version}`;
  const changed = ({ target }) => choose(model.id, target);
  const box = el("input", { type: "checkbox", on: { change: changed }, ...named(`Compare ${version}`) });
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

const named = (words) => ({ "aria-label": words });

/** Milliseconds of one image on a CPU, in the graph that serves there. */
export function oneImage({ serving }) {
  return serving?.latency_ms?.[serving.precision]?.["1"];
}

export function servedSize({ serving, files }) {
  return files[serving?.file || "model.onnx"]?.size_bytes;
}
