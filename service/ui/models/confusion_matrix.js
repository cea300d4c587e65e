// Which classes a model takes for which. Many classes: only what it confuses most.

import { el, table } from "../lib/dom.js";
import { title } from "../lib/format.js";

const MAX_CLASSES = 26; // of which a table can still be read
const WORST = 20;

/**
 * Make the matrix, or a table of many classes' worst pairs; null where the model's record has none.
 *
 * @param {ModelView} model
 */
export function confusion(model) {
  const { confusion_matrix: counts, classes } = model;
  if (!counts.length) return null;
  return (classes.length <= MAX_CLASSES ? matrix : worst)(counts, classes, title(model));
}

/**
 * @param {number[][]} counts
 * @param {string[]} classes
 * @param {string} model
 */
function matrix(counts, classes, model) {
  const rows = counts.map((row, truth) => {
    const images = row.reduce((sum, count) => sum + count, 0);
    return [classes[truth], ...row.map((count, answer) => cell(count, images, answer === truth))];
  });
  const shown = table(`Rows: the true class; columns: the answer of ${model}`, ["", ...classes], rows);
  shown.classList.add("confusion");
  return shown;
}

/**
 * Shade a count by its share of the row; the diagonal in another colour, and every count as a number.
 *
 * @param {number} count
 * @param {number} images
 * @param {boolean} right
 */
function cell(count, images, right) {
  const node = el("span", { class: right ? "cell right" : "cell wrong" }, count || "·");
  node.style.setProperty("--share", String(images ? Math.sqrt(count / images) : 0));
  return node;
}

/**
 * @param {number[][]} counts
 * @param {string[]} classes
 * @param {string} model
 */
function worst(counts, classes, model) {
  const wrong = counts.flatMap((row, truth) => row.map((count, answer) => ({ truth, answer, count })));
  const most = wrong.filter((one) => one.truth !== one.answer && one.count).sort((a, b) => b.count - a.count);
  const rows = most.slice(0, WORST).map((one) => [classes[one.truth], classes[one.answer], String(one.count)]);
  if (!rows.length) return el("p", {}, "No mistakes.");
  return table(`The most frequent mistakes of ${model}`, ["Truth", "Answer", "Images"], rows);
}
