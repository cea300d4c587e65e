// Puts the page together: which view the address names, the key, and how the service is.

import { Api, told } from "./lib/api.js";
import { el } from "./lib/dom.js";
import { watchHealth } from "./health.js";
import { compareView } from "./models/compare.js";
import { datasetView } from "./datasets/dataset.js";
import { datasetsView } from "./datasets/datasets.js";
import { jobView } from "./jobs/job.js";
import { jobsView } from "./jobs/jobs.js";
import { Keys } from "./keys.js";
import { modelView } from "./models/model.js";
import { modelsView } from "./models/models.js";
import { trainView } from "./jobs/train.js";
import { tryView } from "./predict/playground.js";

// address behind the # -> view and title; {id} is given to the view
const VIEWS = [
  [/^\/(train)?$/, trainView, "Train", "train"],
  [/^\/jobs$/, jobsView, "Jobs", "jobs"],
  [/^\/jobs\/(?<id>[\w-]+)$/, jobView, "Job", "jobs"],
  [/^\/models$/, modelsView, "Models", "models"],
  [/^\/compare$/, compareView, "Compare models", "models"],
  [/^\/models\/(?<id>[\w-]+)$/, modelView, "Model", "models"],
  [/^\/datasets$/, datasetsView, "Data sets", "datasets"],
  [/^\/datasets\/(?<id>[\w-]+)$/, datasetView, "Data set", "datasets"],
  [/^\/try$/, tryView, "Try it", "try"],
];

const main = document.getElementById("main");
const keys = new Keys(document.getElementById("sign-in"));
const api = new Api(keys);
let leaving = new AbortController(); // of the view that is shown

async function show({ first = false } = {}) {
  leaving.abort();
  const { signal } = (leaving = new AbortController());
  const [path, query] = location.hash.slice(1).split("?");
  const [match, view, title, tab] = found(path || "/");
  document.title = `${title} · tuneserve`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${tab}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const fail = (error) => signal.aborted || main.append(el("p", { role: "alert", class: "error" }, told(error)));
  main.replaceChildren(el("p", { class: "hint" }, "Loading …"));
  await view({ main, api, signal, fail, query: new URLSearchParams(query), ...match.groups }).catch(fail);
  if (!first && !signal.aborted) main.focus({ preventScroll: true }); // what a screen reader reads next
}

function found(path) {
  for (const [pattern, ...view] of VIEWS) {
    const match = path.match(pattern);
    if (match) return [match, ...view];
  }
  return [path.match(/^/), missingView, "Not found", ""];
}

async function missingView({ main: place }) {
  place.replaceChildren(el("h1", {}, "Not found"), el("p", {}, "There is no such view."));
}

document.getElementById("key").addEventListener("click", async () => {
  if (await keys.ask(keys.current(), "")) show();
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the part behind # names the view
  main.focus();
});
window.addEventListener("hashchange", show);
show({ first: true });
watchHealth(document.getElementById("health"));
