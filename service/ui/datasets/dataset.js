// One data set: its photos by class, to see and to mend; its versions; what was left out.

import { button, el, facts } from "../lib/dom.js";
import { Fold } from "../lib/fold.js";
import { count, number, when, words } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { Changes } from "./changes.js";
import { Checkup } from "./checkup.js";
import { deleted, trainOn } from "./datasets.js";
import { PhotosOf } from "./photos_of.js";
import { problems } from "./upload_form.js";

const ROWS = 8; // of a contact sheet

/** @param {ViewContext} context */
export async function datasetView(context) {
  const { main, api, signal, id, steps, query } = context;
  const version = query.get("version");
  const path = `datasets/${encodeURIComponent(id)}`;
  /** @type {DatasetCard | DatasetSummary} */
  const card = await api.get(version ? `${path}/${version}` : path, signal);
  steps(id, "photos", await stepsOf(api, signal, id));
  if ("kind" in card) return main.replaceChildren(el("h1", {}, card.name), facts(known(card)), el("p", { class: "actions" }, trainOn(card.name)));
  const scrolled = document.documentElement.scrollTop;
  const redraw = () => datasetView(context).then(() => window.scrollTo(0, scrolled));
  const changes = version || card.layout === "idx" ? null : new Changes(api, signal, card.name, redraw);
  main.replaceChildren(
    await heading(context, card, changes),
    el("div", { class: "stack" }, changes && new Checkup(context, card.name, changes).node, changes || version ? new PhotosOf(context, card, changes).node : await samples(api, signal, card)),
    el("div", { class: "below" }, leftOut(card), new Fold("About this data set", facts(record(card)), card.layout).node),
  );
}

/**
 * @param {ApiClient} api
 * @param {AbortSignal} signal
 * @param {string} name
 * @returns {Promise<Steps>}
 */
async function stepsOf(api, signal, name) {
  /** @type {JobPage} */
  const { data } = await api.get(`jobs?limit=1&dataset=${encodeURIComponent(name)}`, signal);
  const [job] = data;
  const train = job ? `#/jobs/${job.id}` : `#/new?dataset=${name}`;
  return { photos: {}, train: { href: train }, try: { href: job?.model_id ? `#/try?model=${job.model_id}` : undefined } };
}

/**
 * @param {ViewContext} context
 * @param {DatasetCard} card
 * @param {Changes | null} changes
 */
async function heading({ api, signal, fail }, card, changes) {
  /** @type {{ data: { version: number }[] }} */
  const { data } = await api.get(`datasets/${card.name}/versions?limit=100`, signal);
  const newest = data[0]?.version ?? card.version;
  const options = data.map(({ version: n }) =>
    el("option", { value: n, selected: n === card.version }, `Version ${n}${n === newest ? ", newest" : ""}`),
  );
  const versions = el("select", { "aria-label": "Version" }, options);
  versions.addEventListener("change", () => {
    const n = Number(versions.value);
    location.hash = `#/datasets/${card.name}${n === newest ? "" : `?version=${n}`}`;
  });
  const leave = () => {
    location.hash = "#/datasets";
  };
  const remove = () => deleted(api, card.name).then((is) => is && leave()).catch(fail);
  const before = data[1]?.version;
  const back = changes && before && button(`Back to version ${before}`, () => changes.undo(card.version).catch(fail));
  if (back) back.prepend(icon("undo"));
  return el(
    "div",
    { class: "title" },
    el("h1", {}, `${count(card.images, "photo")} in ${count(Object.keys(card.classes).length, "class")}`),
    data.length > 1 && versions,
    el("span", { class: "row tight push" }, back, button("Delete", remove, { class: "destroy" }), trainOn(card.name, { class: "button primary" })),
  );
}

/**
 * List what is known of a data set that nobody uploaded.
 *
 * @param {DatasetSummary} summary
 * @returns {Fact[]}
 */
function known({ kind, available, images, classes }) {
  return [
    ["kind", words(kind)],
    ["on this machine", available ? "yes" : "no: the first job fetches it"],
    ["images", number(images) ?? "–"],
    ["classes", number(classes) ?? "–"],
  ];
}

/**
 * @param {DatasetCard} card
 * @returns {Fact[]}
 */
function record(card) {
  return [
    ["images", number(card.images)],
    ["classes", number(Object.keys(card.classes).length)],
    ["version", String(card.version)],
    ["sent", when(card.created_at)],
    ["layout", card.layout],
    ["digest", el("code", { title: card.digest }, card.digest.slice(0, 12))],
  ];
}

/** @param {DatasetCard} card */
function leftOut({ problems: found, problem_count: all }) {
  if (!all) return "";
  const more = all - found.length;
  const fold = new Fold("Left out", [problems(found), more > 0 && el("p", { class: "hint" }, `And ${number(more)} more.`)], count(all, "file"));
  return fold.node;
}

/**
 * Show the contact sheet of a data set whose photos lie in one file. A picture cannot send the key by itself; its font
 * cannot write all classes' names, so these stand below it too.
 *
 * @param {ApiClient} api
 * @param {AbortSignal} signal
 * @param {DatasetCard} card
 */
async function samples(api, signal, card) {
  const path = `datasets/${encodeURIComponent(card.name)}/samples.png`;
  const address = URL.createObjectURL(await (await api.fetch(path, { signal })).blob());
  signal.addEventListener("abort", () => URL.revokeObjectURL(address), { once: true });
  const shown = Object.keys(card.classes).filter((label) => card.classes[label].train).slice(0, ROWS);
  return el(
    "figure",
    { class: "contact-sheet" },
    el("img", { src: address, alt: `Images of ${shown.join(", ")}` }),
    el("figcaption", {}, "The rows:", el("ol", {}, shown.map((label) => el("li", {}, label)))),
  );
}
