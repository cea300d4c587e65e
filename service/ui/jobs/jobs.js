// The list of jobs, live.

import { el, table } from "../lib/dom.js";
import { accuracy, percent, when } from "../lib/format.js";
import { every } from "../lib/time.js";

const LOOK_MS = 2_000;
const HEAD = ["Job", "State", "Done", "Data set", "Network", "Accuracy", "Created"];

/** @param {ViewContext} context */
export async function jobsView({ main, api, signal, fail, query }) {
  const after = query.get("after");
  const path = after ? `jobs?after=${encodeURIComponent(after)}` : "jobs";
  const list = el("div", {});
  let shown = "";
  const look = async () => {
    /** @type {JobPage} */
    const page = await api.get(path, signal);
    const now = JSON.stringify(page);
    if (now !== shown) list.replaceChildren(...listed(page, after)); // else the keyboard's focus would be lost
    shown = now;
  };
  await look();
  main.replaceChildren(el("h1", {}, "Jobs"), list);
  every(LOOK_MS, signal, look).catch(fail);
}

/**
 * @param {JobPage} page
 * @param {string | null} after
 */
function listed(page, after) {
  if (!page.data.length && !after) {
    return [el("p", {}, "No job yet. ", el("a", { href: "#/train" }, "Train a network"), ".")];
  }
  const newest = after && el("a", { href: "#/jobs" }, "Newest");
  const older = page.has_more && el("a", { href: `#/jobs?after=${page.next}` }, "Older");
  const pages = el("p", { class: "actions" }, newest || "", older || "");
  return [table("Jobs, newest first", HEAD, page.data.map(row)), pages];
}

/** @param {JobView} job */
function row(job) {
  const { test, validation_accuracy: validation } = job.metrics;
  return [
    el("a", { href: `#/jobs/${job.id}` }, job.name || job.id),
    badge(state(job)),
    el("span", { class: "number" }, job.progress.percent == null ? "–" : `${job.progress.percent} %`),
    job.recipe.dataset,
    job.recipe.network,
    accuracy(test) || percent(validation) || "–",
    when(job.created_at),
  ];
}

/** @param {JobView} job */
export const state = (job) => (job.pausing ? "pausing" : job.status);
/** @param {string} status */
export const badge = (status) => el("span", { class: `badge ${status}` }, status);
