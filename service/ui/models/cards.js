// Models as cards, one a name: some of its photos, how many it got right, which version answers.

import { el } from "../lib/dom.js";
import { count, range, right } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { imagesOf, Thumbnails } from "../photos/thumbnails.js";

const [COVER, SMALL_TEST] = ["5", 100];

/**
 * @param {ViewContext} context
 * @param {ModelView[]} models
 * @param {Set<string>} own data sets whose photos can be shown
 */
export function modelCards({ api, signal }, models, own) {
  const thumbnails = new Thumbnails(api, signal);
  const cards = shown(models).map((model) => {
    const cover = el("span", { class: "mosaic" });
    if (own.has(model.dataset.split("/")[0])) fill(cover, api, signal, thumbnails, model.dataset);
    return card(cover, model);
  });
  return el("div", { class: "models" }, cards);
}

/**
 * Choose for each name what answers, or the newest version.
 *
 * @param {ModelView[]} models
 */
function shown(models) {
  const names = [...new Set(models.map((one) => one.name))];
  return names.map((name) => {
    const versions = models.filter((one) => one.name === name);
    return versions.find((one) => one.aliases.includes("serving")) ?? versions[0];
  });
}

/**
 * @param {HTMLElement} cover
 * @param {ModelView} model
 */
function card(cover, model) {
  const answers = model.aliases.includes("serving") ? "answers" : "does not answer";
  return el(
    "a",
    { class: "card model-card", href: `#/models/${model.id}` },
    cover,
    el("span", { class: "row" }, el("b", {}, model.name), el("span", { class: "score" }, right(model.test))),
    rangeBar(model.test, true),
    el(
      "span",
      { class: "row small soft meta" },
      el("span", {}, `Version ${model.version} ${answers} · ${count(model.classes.length, "class")}`),
      model.test.images < SMALL_TEST && el("span", { class: "tag bad" }, icon("warning"), "small test"),
    ),
  );
}

/**
 * Fill the cover with photos of the data set.
 *
 * @param {HTMLElement} cover
 * @param {ApiClient} api
 * @param {AbortSignal} signal
 * @param {Thumbnails} thumbnails
 * @param {string} dataset
 */
async function fill(cover, api, signal, thumbnails, dataset) {
  const found = await imagesOf(api, signal, dataset, { limit: COVER }).catch(() => null);
  const images = (found?.data ?? []).map((one) => thumbnails.draw(one));
  for (const image of images) image.alt = "";
  cover.append(...images);
}

/**
 * Draw where the true share probably lies, from 0 to 100 %.
 *
 * @param {TestResult} test
 * @param {boolean} thin
 */
export function rangeBar(test, thin = false) {
  const bar = el(
    "span",
    { class: thin ? "range thin" : "range", role: "img", "aria-label": `${range(test)} right expected` },
    el("span", { class: "scale" }),
    el("span", { class: "band" }),
    el("span", { class: "point" }),
    !thin && el("span", { class: "ends" }, el("span", {}, "0 %"), el("span", {}, "50 %"), el("span", {}, "100 %")),
  );
  bar.style.setProperty("--from", String(test.low));
  bar.style.setProperty("--to", String(test.high));
  bar.style.setProperty("--at", String(test.correct / test.images));
  return bar;
}
