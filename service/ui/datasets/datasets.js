// The data sets: what a recipe can name, what of it is at hand, and a form that sends one's own.

import { button, el, table } from "../lib/dom.js";
import { number, words } from "../lib/format.js";
import { sendForm } from "./upload_form.js";

const HEAD = ["Data set", "Kind", "Version", "Classes", "Images", ""];

/** @param {ViewContext} context */
export async function datasetsView({ main, api, signal, fail }) {
  const list = el("div", {});
  const show = async () => {
    /** @type {{ data: DatasetSummary[] }} */
    const { data } = await api.get("datasets", signal);
    const here = data.filter((one) => one.available).sort(ownFirst);
    list.replaceChildren(
      table("Data sets", HEAD, here.map((one) => row(one, remove))),
      elsewhere(data.filter((one) => !one.available)),
    );
  };
  /** @param {string} name */
  const remove = async (name) => {
    try {
      if (await deleted(api, name)) await show();
    } catch (error) {
      fail(error);
    }
  };
  await show();
  main.replaceChildren(
    el("h1", {}, "Data sets"),
    sendForm(api, signal),
    el("section", {}, el("h2", {}, "What a job can train on"), list),
  );
}

/**
 * Delete it if the reader means it, and say whether they did.
 *
 * @param {ApiClient} api
 * @param {string} name
 */
export async function deleted(api, name) {
  if (!confirm(`Delete the data set ${name}? Models that were trained on it stay, but cannot be trained again.`)) return false;
  await api.fetch(`datasets/${encodeURIComponent(name)}?force=true`, { method: "DELETE" });
  return true;
}

/** @type {(a: DatasetSummary, b: DatasetSummary) => number} */
const ownFirst = (a, b) => Number(a.kind === "built_in") - Number(b.kind === "built_in");

/**
 * @param {string} name
 * @param {Attributes} attributes
 */
export const trainOn = (name, attributes = {}) =>
  el("a", { class: "button", href: `#/new?dataset=${encodeURIComponent(name)}`, ...attributes }, "Train on it");

/**
 * List the data sets that are known by name alone.
 *
 * @param {DatasetSummary[]} sets
 */
function elsewhere(sets) {
  if (!sets.length) return "";
  const links = sets.map(({ name }) => el("li", {}, el("a", { href: `#/new?dataset=${name}` }, name)));
  return el(
    "section",
    {},
    el("h2", {}, "What a job would fetch first"),
    el("p", { class: "hint" }, "None of their files is on this machine; the job that needs one gets it if it can."),
    el("ul", { class: "names" }, links),
  );
}

/**
 * @param {DatasetSummary} dataset
 * @param {(name: string) => unknown} remove
 */
function row({ name, kind, version, classes, images }, remove) {
  const own = kind === "uploaded";
  return [
    own ? el("a", { href: `#/datasets/${name}` }, name) : name,
    words(kind),
    version ?? "–",
    number(classes) ?? "–",
    number(images) ?? "–",
    el(
      "span",
      { class: "actions" },
      trainOn(name, { "aria-label": `Train on ${name}` }),
      own && button("Delete", () => remove(name), { "aria-label": `Delete ${name}` }),
    ),
  ];
}
