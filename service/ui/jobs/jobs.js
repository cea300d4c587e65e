// The list of jobs, live.

import { el, table } from "../lib/dom.js";
import { ago, range, right, seconds } from "../lib/format.js";
import { every } from "../lib/time.js";
import { wordsOf } from "./failure.js";
import { nameOf, phaseName, stateTag } from "./words.js";

const LOOK_MS = 2_000;
const HEAD = ["Job", "State", "Outcome", "Took", "Created"];
/** @type {[status: string, title: string][]} */
const FILTERS = [["", "All"], ["running", "Running"], ["queued", "Waiting"], ["succeeded", "Done"], ["failed", "Failed"], ["cancelled", "Stopped"]];

/** @param {ViewContext} context */
export async function jobsView({ main, api, signal, fail, query }) {
  const after = query.get("after");
  const status = query.get("status") ?? "";
  const path = `jobs?${new URLSearchParams({ ...(status && { status }), ...(after && { after }) })}`;
  const list = el("div", {});
  let shown = "";
  const look = async () => {
    /** @type {JobPage} */
    const page = await api.get(path, signal);
    const now = JSON.stringify(page);
    if (now !== shown) list.replaceChildren(...listed(page, after, status)); // else the keyboard's focus would be lost
    shown = now;
  };
  await look();
  main.replaceChildren(el("h1", {}, "Jobs"), filters(status), list);
  every(LOOK_MS, signal, look).catch(fail);
}

/** @param {string} status */
function filters(status) {
  const links = FILTERS.map(([one, title]) =>
    el("a", { class: "button", href: one ? `#/jobs?status=${one}` : "#/jobs", "aria-current": one === status ? "true" : null }, title),
  );
  return el("nav", { class: "filters", "aria-label": "Which jobs" }, links);
}

/**
 * @param {JobPage} page
 * @param {string | null} after
 * @param {string} status
 */
function listed(page, after, status) {
  if (!page.data.length && status) return [el("p", { class: "hint" }, "None.")];
  if (!page.data.length && !after) {
    return [el("p", {}, "No job yet. ", el("a", { href: "#/new" }, "Train a network"), ".")];
  }
  const only = status ? `&status=${status}` : "";
  const newest = after && el("a", { href: `#/jobs?${only}` }, "Newest");
  const older = page.has_more && el("a", { href: `#/jobs?after=${page.next}${only}` }, "Older");
  const pages = el("p", { class: "actions" }, newest || "", older || "");
  const list = table("Jobs, newest first", HEAD, page.data.map(row));
  list.classList.add("cards");
  return [list, pages];
}

/** @param {JobView} job */
const row = (job) => [
  el("a", { href: `#/jobs/${job.id}` }, nameOf(job)),
  stateTag(job),
  outcome(job),
  el("span", { class: "nowrap" }, took(job)),
  el("span", { class: "nowrap" }, ago(job.created_at)),
];

/**
 * Say what came of it, or how far it is.
 *
 * @param {JobView} job
 */
function outcome(job) {
  const { status, metrics, progress, phase } = job;
  if (metrics.test) return [right(metrics.test), el("br"), el("small", { class: "soft" }, `${range(metrics.test)} expected`)];
  if (status === "failed") return wordsOf(job)[0].slice(0, 120);
  if (status !== "running") return "";
  const bar = el("i", {});
  bar.style.setProperty("--share", String((progress.percent ?? 0) / 100));
  const text = `${phaseName(phase ?? "starting")}, ${Math.round(progress.percent ?? 0)} %`;
  return el("span", { class: "outcome" }, el("span", { class: "track" }, bar), el("small", { class: "soft" }, text));
}

/** @param {JobView} job */
function took({ started_at: from, finished_at: to }) {
  return from && to ? seconds((Date.parse(to) - Date.parse(from)) / 1000) : "";
}
