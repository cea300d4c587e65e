// Two models side by side.

import { el, table } from "./dom.js";
import { confusion } from "./confusion.js";
import { record } from "./model.js";

export async function compareView({ main, api, signal, query }) {
  const ids = (query.get("of") || "").split(",").slice(0, 2);
  const models = await Promise.all(ids.map((id) => api.get(`models/${encodeURIComponent(id)}`, signal)));
  const records = models.map((model) => new Map(record(model)));
  const names = [...records[0].keys()].filter((name) => records.some((one) => one.get(name) != null));
  const rows = names.map((name) => [name, ...records.map((one) => one.get(name) ?? "–")]);
  const title = (model) => `version ${model.version}`;
  main.replaceChildren(
    el("h1", {}, `Comparing ${models.map(title).join(" and ")}`),
    table("Both models", ["", ...models.map(title)], rows),
    el("div", { class: "pair" }, models.map((model) => mistaken(model, title(model)))),
  );
}

function mistaken(model, title) {
  return el("section", {}, el("h2", {}, `Confusion matrix, ${title}`), confusion(model) || "Not recorded.");
}
