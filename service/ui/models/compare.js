// Two models side by side.

import { el, table } from "../lib/dom.js";
import { confusion } from "./confusion_matrix.js";
import { mistakes, record } from "./model.js";

export async function compareView({ main, api, signal, query }) {
  const ids = (query.get("of") || "").split(",").slice(0, 2);
  const models = await Promise.all(ids.map((id) => api.get(`models/${encodeURIComponent(id)}`, signal)));
  const records = models.map((model) => new Map(record(model)));
  const names = [...new Set(records.flatMap((one) => [...one.keys()]))];
  const known = names.filter((name) => records.some((one) => one.get(name) != null));
  const rows = known.map((name) => [name, ...records.map((one) => one.get(name) ?? "–")]);
  const title = (model) => `version ${model.version}`;
  const worst = await Promise.all(models.map((model) => mistakes(api, signal, model)));
  main.replaceChildren(
    el("h1", {}, `Comparing ${models.map(title).join(" and ")}`),
    table("Both models", ["", ...models.map(title)], rows),
    pair("Confusion matrix", models.map(title), models.map(confusion)),
    pair("Worst mistakes", models.map(title), worst),
  );
}

function pair(what, titles, contents) {
  const one = (content, n) => el("section", {}, el("h2", {}, `${what}, ${titles[n]}`), content || "Not recorded.");
  return el("div", { class: "pair" }, contents.map(one));
}
