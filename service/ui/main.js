// Puts the page together: which view the address names, the key, and how the service is.

import { Api, errorText } from "./lib/api.js";
import { byId, el } from "./lib/dom.js";
import { watchHealth } from "./health.js";
import { Collection } from "./home/collection.js";
import { Keys } from "./keys.js";
import { showSteps } from "./steps.js";

/**
 * A view shows itself in the context that it is given.
 *
 * @typedef {(context: ViewContext) => Promise<void>} View
 */

/** @type {[address: RegExp, load: () => Promise<View>, title: string, tab: string][]} by what is behind the #; `id` goes
 * to the view, whose scripts are fetched when it is first shown */
const VIEWS = [
  [/^\/$/, async () => (await import("./home/home.js")).homeView, "Home", "models"],
  [/^\/(?<id>new|train)$/, async () => (await import("./home/new_model.js")).newView, "New model", "new"],
  [/^\/jobs$/, async () => (await import("./jobs/jobs.js")).jobsView, "Jobs", "jobs"],
  [/^\/jobs\/(?<id>[\w-]+)$/, async () => (await import("./jobs/job.js")).jobView, "Job", "jobs"],
  [/^\/models$/, async () => (await import("./models/models.js")).modelsView, "Models", "models"],
  [/^\/compare$/, async () => (await import("./models/compare.js")).compareView, "Compare models", "models"],
  [/^\/models\/(?<id>[\w-]+(?:\/\d+)?)$/, async () => (await import("./models/model.js")).modelView, "Model", "models"],
  [/^\/datasets$/, async () => (await import("./datasets/datasets.js")).datasetsView, "Data sets", "datasets"],
  [/^\/datasets\/(?<id>[\w-]+)$/, async () => (await import("./datasets/dataset.js")).datasetView, "Data set", "datasets"],
  [/^\/try$/, async () => (await import("./predict/playground.js")).tryView, "Try it", "try"],
];

const main = byId("main", HTMLElement);
const work = byId("work", HTMLElement);
const keys = new Keys(byId("sign-in", HTMLDialogElement));
const api = new Api(keys);
const draft = new Collection(); // photos that were given and not sent yet outlive a view
let leaving = new AbortController(); // of the view that is shown

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [path, query] = location.hash.slice(1).split("?");
  const { id, load, title, tab } = found(path || "/");
  document.title = `${title} · tuneserve`;
  for (const link of document.querySelectorAll(".places a")) {
    if (link.getAttribute("href") === `#/${tab}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  /** @type {Fail} */
  const fail = (error) => {
    if (signal.aborted) return;
    main.querySelector(":scope > .failed-notice")?.remove();
    const notice = el("p", { role: "alert", class: "notice error failed-notice" }, errorText(error));
    main.append(notice);
    notice.scrollIntoView({ block: "nearest" }); // it may be below what is seen
  };
  /** @type {ViewContext["steps"]} */
  const steps = (...given) => {
    if (!signal.aborted) showSteps(work, ...given);
  };
  work.hidden = true;
  main.replaceChildren(el("p", { class: "hint" }, "Loading …"));
  try {
    const view = await load();
    if (!signal.aborted) await view({ main, api, signal, fail, steps, draft, query: new URLSearchParams(query), id });
  } catch (error) {
    fail(error);
  }
  return !signal.aborted;
}

/** Show another view, which a screen reader reads next. */
async function go() {
  if (await show()) main.focus({ preventScroll: true });
}

/** @param {string} path */
function found(path) {
  for (const [address, load, title, tab] of VIEWS) {
    const match = path.match(address);
    if (match) return { id: match.groups?.id ?? "", load, title, tab };
  }
  return { id: "", load: async () => missingView, title: "Not found", tab: "" };
}

/** @type {View} */
async function missingView({ main: place }) {
  place.replaceChildren(el("h1", {}, "Not found"), el("p", {}, "There is no such view."));
}

byId("key", HTMLButtonElement).addEventListener("click", async () => {
  if (await keys.request(keys.current(), "")) go();
});
byId("skip", HTMLAnchorElement).addEventListener("click", (event) => {
  event.preventDefault(); // the part behind # names the view
  main.focus();
});
window.addEventListener("hashchange", go);
show();
watchHealth(byId("health", HTMLElement));
