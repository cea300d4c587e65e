// Numbers and times for people. A number and its unit stay on one line; an unknown one is null.

/** @typedef {number | null | undefined} Known */

const GAP = "\u00a0";

/**
 * @param {Known} share
 * @param {number} digits
 */
export const percent = (share, digits = 2) => (share == null ? null : `${(100 * share).toFixed(digits)}${GAP}%`);

/**
 * Format an accuracy with its count and its 95 % interval.
 *
 * @param {TestResult | null | undefined} test
 */
export function accuracy(test) {
  if (!test) return null;
  const { correct, images, low, high } = test;
  const interval = `${(100 * low).toFixed(1)} to ${percent(high, 1)}`;
  return `${percent(correct / images)}, ${number(correct)} of ${number(images)} right (${interval})`;
}

/** @param {Known} value */
export function seconds(value) {
  if (value == null) return null;
  if (value < 10) return `${value.toFixed(1)}${GAP}s`;
  if (value < 60) return `${Math.round(value)}${GAP}s`;
  const whole = Math.round(value);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** @param {Known} value */
export function bytes(value) {
  if (value == null) return null;
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = value ? Math.min(units.length - 1, Math.floor(Math.log10(value) / 3)) : 0;
  return `${(value / 1000 ** power).toFixed(power && value / 1000 ** power < 10 ? 1 : 0)}${GAP}${units[power]}`;
}

/**
 * @param {Known} value
 * @param {number} digits
 */
export const number = (value, digits = 0) =>
  value == null ? null : value.toLocaleString("en", { maximumFractionDigits: digits });

/**
 * Show four significant digits.
 *
 * @param {Known} value
 */
export const figures = (value) => (value == null ? null : value.toLocaleString("en", { maximumSignificantDigits: 4 }));

/** @param {Known} value */
export const milliseconds = (value) => (value == null ? null : `${value.toFixed(value < 10 ? 2 : 0)}${GAP}ms`);

/** @param {string} name */
export const words = (name) => name.replaceAll("_", " ");

/**
 * Show the time of day alone.
 *
 * @param {string} iso
 */
export const clock = (iso) => new Date(iso).toLocaleTimeString(undefined, { timeStyle: "medium" });

/**
 * Show an ISO time as it is on the reader's clock.
 *
 * @param {string | null | undefined} iso
 */
export function when(iso) {
  if (!iso) return null;
  return new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/**
 * Name a version of a model as every reference does: `pets/3`.
 *
 * @param {{ name: string, version: number }} model
 */
export const title = ({ name, version }) => `${name}/${version}`;

/**
 * Count things: 1 photo, 2 photos.
 *
 * @param {number} n
 * @param {string} thing
 */
export const count = (n, thing) => `${number(n)} ${n === 1 ? thing : thing.endsWith("s") ? `${thing}es` : `${thing}s`}`;

/**
 * Say a duration as people do: about 40 s, about 6 min.
 *
 * @param {number} s
 */
export function roughly(s) {
  if (s < 90) return `about ${Math.max(5, 5 * Math.round(s / 5))}${GAP}s`;
  if (s < 5400) return `about ${Math.round(s / 60)}${GAP}min`;
  return `about ${Math.round(s / 3600)}${GAP}h`;
}

/**
 * Show an interval of shares: 55 to 95 %.
 *
 * @param {{ low: number, high: number }} interval
 */
export const range = ({ low, high }) => `${Math.round(100 * low)} to ${Math.round(100 * high)}${GAP}%`;

/** @param {{ correct: number, images: number }} test */
export const right = ({ correct, images }) => `${number(correct)} of ${number(images)} right`;

/**
 * Say when: the time of today, yesterday, else the day.
 *
 * @param {string} iso
 */
export function ago(iso) {
  const [then, now] = [new Date(iso), new Date()];
  const days = Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(then).setHours(0, 0, 0, 0)) / 86_400_000);
  if (days === 0) return then.toLocaleTimeString(undefined, { timeStyle: "short" });
  return days === 1 ? "yesterday" : then.toLocaleDateString(undefined, { day: "numeric", month: "short", year: days > 300 ? "numeric" : undefined });
}
