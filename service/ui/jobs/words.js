// A job in words: its name, its state, and what it does now.

import { icon } from "../lib/icons.js";
import { el } from "../lib/dom.js";

/** @param {JobView} job */
export const state = (job) => (job.pausing ? "pausing" : job.status);

/** @type {Record<string, [text: string, look: string, icon: string]>} */
const STATES = {
  queued: ["Waiting", "waiting", "clock"],
  running: ["Running", "running", "clock"],
  pausing: ["Pausing", "waiting", "pause"],
  paused: ["Paused", "waiting", "pause"],
  cancelling: ["Stopping", "waiting", "stop"],
  succeeded: ["Done", "", "check"],
  failed: ["Failed", "failed", "cross"],
  cancelled: ["Stopped", "", "stop"],
};

/** @param {JobView} job */
export function stateTag(job) {
  const [text, look, image] = STATES[state(job)];
  return el("span", { class: `tag ${look}` }, icon(image), text);
}

/**
 * Name a job: as it was named, or by what it learns and how.
 *
 * @param {JobView} job
 */
export const nameOf = ({ name, recipe }) =>
  name || [recipe.model || recipe.dataset.split("/")[0], recipe.preset || recipe.network].join(" · ");

/** @type {Record<Phase, [doing: string, done: string]>} */
const PHASES = {
  starting: ["Starting", "Started"],
  preparing_data: ["Preparing", "Prepared"],
  training: ["Training", "Trained"],
  evaluating: ["Testing", "Tested"],
  publishing: ["Publishing", "Published"],
};

/**
 * @param {Phase} phase
 * @param {boolean} done
 */
export const phaseName = (phase, done = false) => PHASES[phase][done ? 1 : 0];
