// How long each phase of a job takes, and how long it is to the end: from its own clock and from jobs like it.

/** @type {Phase[]} */
export const PHASES = ["preparing_data", "training", "evaluating", "publishing"];
/** @type {Record<Phase, number>} lengths in proportion, where nothing is known */
const USUAL = { starting: 0, preparing_data: 6, training: 70, evaluating: 7, publishing: 17 };

/** @typedef {Partial<Record<Phase, number>>} Lengths seconds by phase */

/**
 * Take the median length of each phase of the jobs that learned in the same way from the same data set.
 *
 * @param {JobView} job
 * @param {JobView[]} past
 * @returns {Lengths}
 */
export function lengthsLike(job, past) {
  const like = past.filter((one) => one.id !== job.id && sameKind(one.recipe, job.recipe));
  /** @type {Lengths} */
  const found = {};
  for (const phase of PHASES) {
    const times = like.flatMap((one) => took(one, phase) ?? []).sort((a, b) => a - b);
    if (times.length) found[phase] = times[Math.floor(times.length / 2)];
  }
  return found;
}

/** @type {(a: JobView["recipe"], b: JobView["recipe"]) => boolean} */
const sameKind = (a, b) =>
  a.preset === b.preset && a.network === b.network && a.dataset.split("/")[0] === b.dataset.split("/")[0];

/**
 * Say how many seconds a phase took; null while it lasts, and before it.
 *
 * @param {JobView} job
 * @param {Phase} phase
 */
function took({ phases }, phase) {
  const one = phases.find((each) => each.phase === phase);
  return one?.ended_at ? (Date.parse(one.ended_at) - Date.parse(one.started_at)) / 1000 : null;
}

/**
 * Give the length of each phase as it is drawn: what it took, what it will take, or the usual proportion.
 *
 * @param {JobView} job
 * @param {Lengths} like
 */
export function weights(job, like) {
  const known = PHASES.every((phase) => (took(job, phase) ?? like[phase]) !== undefined);
  return PHASES.map((phase) => (known ? Math.max(0.5, took(job, phase) ?? like[phase] ?? 0) : USUAL[phase]));
}

/**
 * Say how many seconds are left; null: nobody knows.
 *
 * @param {JobView} job
 * @param {Lengths} like
 * @param {number} now in ms
 */
export function secondsLeft(job, like, now) {
  const at = PHASES.indexOf(job.phase ?? "starting");
  const later = PHASES.slice(at + 1).map((phase) => like[phase]);
  const current = at < 0 ? 0 : leftOf(job, PHASES[at], like, now);
  if (current === null || later.includes(undefined)) return null;
  return later.reduce((/** @type {number} */ sum, one) => sum + (one ?? 0), current);
}

/**
 * @param {JobView} job
 * @param {Phase} phase
 * @param {Lengths} like
 * @param {number} now
 */
function leftOf(job, phase, like, now) {
  if (phase === "training" && job.estimated_finish) return Math.max(0, (Date.parse(job.estimated_finish) - now) / 1000);
  const since = job.phases.find((one) => one.phase === phase)?.started_at;
  const whole = like[phase];
  return since === undefined || whole === undefined ? null : Math.max(0, whole - (now - Date.parse(since)) / 1000);
}
