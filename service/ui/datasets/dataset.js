// One data set: classes, what was left out and the contact sheet of an uploaded one; of others what is known.

import { button, el, facts, table } from "../lib/dom.js";
import { number, when, words } from "../lib/format.js";
import { deleted, trainOn } from "./datasets.js";
import { problems } from "./upload_form.js";

const ROWS = 8; // of a contact sheet
/** @type {[part: string, title: string][]} */
const PARTS = [["train", "Train"], ["test", "Test"], ["val", "Validation"]];

/** @param {ViewContext} context */
export async function datasetView({ main, api, signal, fail, id }) {
  /** @type {DatasetCard | DatasetSummary} */
  const card = await api.get(`datasets/${encodeURIComponent(id)}`, signal);
  if ("kind" in card) return main.replaceChildren(el("h1", {}, card.name), facts(known(card)), trainOn(card.name));
  const leave = () => {
    location.hash = "#/datasets";
  };
  const remove = () => deleted(api, id).then((is) => is && leave()).catch(fail);
  const sheet = el("section", {}, el("h2", {}, "Samples"));
  main.replaceChildren(
    el("h1", {}, card.name),
    el("p", { class: "actions" }, trainOn(card.name, { class: "button primary" }), button("Delete", remove)),
    facts(record(card)),
    el("section", {}, el("h2", {}, "Classes"), counts(card.classes)),
    leftOut(card),
    sheet,
  );
  sheet.append(await samples(api, signal, card));
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

/** @param {DatasetCard["classes"]} classes */
function counts(classes) {
  const all = Object.entries(classes);
  const parts = PARTS.filter(([part]) => all.some(([, of]) => part in of));
  const rows = all.map(([label, of]) => [label, ...parts.map(([part]) => number(of[part]))]);
  const held = all.every(([, { test }]) => !test);
  return [
    table("Images of each class", ["Class", ...parts.map(([, word]) => word)], rows),
    held && el("p", { class: "hint" }, "None was sent for testing: a job holds a fifth back for that."),
  ];
}

/** @param {DatasetCard} card */
function leftOut({ problems: found, problem_count: count }) {
  if (!count) return "";
  const more = count - found.length;
  return el(
    "section",
    {},
    el("h2", {}, "Left out"),
    problems(found),
    more > 0 && el("p", { class: "hint" }, `And ${number(more)} more.`),
  );
}

/**
 * Show the contact sheet. A picture cannot send the key by itself; its font cannot write all classes' names, so these
 * stand below it too.
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
