// Two models side by side.

import { el, table } from "../lib/dom.js";
import { title } from "../lib/format.js";
import { confusion } from "./confusion_matrix.js";
import { mistakes, record } from "./model.js";

/** @param {ViewContext} context */
export async function compareView({ main, api, signal, query }) {
  const ids = (query.get("of") || "").split(",").slice(0, 2);
  /** @type {ModelView[]} */
  const models = await Promise.all(ids.map((id) => api.get(`models/${encodeURIComponent(id)}`, signal)));
  const titles = models.map(title);
  const worst = await Promise.all(models.map((model) => mistakes(api, signal, model)));
  main.replaceChildren(
    el("h1", {}, `Comparing ${titles.join(" and ")}`),
    table("Both models", ["", ...titles], rows(models)),
    pair("Confusion matrix", titles, models.map((one) => confusion(one))),
    pair("Worst mistakes", titles, worst),
  );
}

/**
 * Make a row of each fact that any of the models has.
 *
 * @param {ModelView[]} models
 */
function rows(models) {
  const records = models.map((model) => new Map(record(model)));
  const names = [...new Set(records.flatMap((one) => [...one.keys()]))];
  const known = names.filter((name) => records.some((one) => one.get(name) != null));
  return known.map((name) => [name, ...records.map((one) => one.get(name) ?? "–")]);
}

/**
 * @param {string} what
 * @param {string[]} titles
 * @param {(HTMLElement | null)[]} contents
 */
function pair(what, titles, contents) {
  const sections = contents.map((content, n) =>
    el("section", {}, el("h2", {}, `${what}, ${titles[n]}`), content || "Not recorded."),
  );
  return el("div", { class: "pair" }, sections);
}
