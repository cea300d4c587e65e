// Which classes a model takes for which: a matrix whose axes have names; of many classes, the worst pairs.

import { el, table } from "../lib/dom.js";
import { number, title } from "../lib/format.js";

const MAX_CLASSES = 26; // of which a table can still be read
const [WORST, WORDS] = [20, 4]; // pairs that are listed; classes whose cells say in words what they are

/** @typedef {Map<string, HTMLImageElement>} Covers a photo of each class, where there is one */

/**
 * Make the matrix, or a table of many classes' worst pairs; null where the model's record has none.
 *
 * @param {ModelView} model
 * @param {Covers} covers
 */
export function confusion(model, covers = new Map()) {
  const { confusion_matrix: counts, classes } = model;
  if (!counts.length) return null;
  return classes.length <= MAX_CLASSES ? matrix(counts, classes, title(model), covers) : worst(counts, classes, title(model));
}

/**
 * @param {number[][]} counts
 * @param {string[]} classes
 * @param {string} model
 * @param {Covers} covers
 */
function matrix(counts, classes, model, covers) {
  const caption = `Rows: the true class; columns: the answer of ${model}`;
  /** @type {(label: string, look: string) => HTMLElement} */
  const head = (label, look) => el("span", { class: `class ${look}`, title: label }, covers.get(label)?.cloneNode(), el("span", {}, label));
  const columns = classes.map((label) => el("th", { scope: "col" }, head(label, "top")));
  const across = el("th", { class: "across", scope: "colgroup", colspan: classes.length }, "It said");
  const rows = counts.map((row, truth) => {
    const images = row.reduce((sum, one) => sum + one, 0);
    const down = truth ? null : el("th", { class: "down", scope: "rowgroup", rowspan: classes.length }, el("span", {}, "It is"));
    const cells = row.map((one, answer) => el("td", {}, cell(one, images, answer === truth, classes.length <= WORDS ? classes[answer] : "")));
    return el("tr", {}, down, el("th", { scope: "row" }, head(classes[truth], "")), cells);
  });
  const node = el(
    "table",
    { class: `matrix ${classes.length > WORDS ? "many" : ""}` },
    el("caption", { class: "unseen" }, caption),
    el("thead", {}, el("tr", {}, el("td"), el("td"), across), el("tr", {}, el("td"), el("td"), columns)),
    el("tbody", {}, rows),
  );
  node.style.setProperty("--n", String(classes.length));
  return el("div", { class: "confusion", role: "region", "aria-label": caption, tabindex: "0" }, node);
}

/**
 * Shade a count by its share of the row; the diagonal in another colour, and every count as a number.
 *
 * @param {number} images
 * @param {number} of
 * @param {boolean} right
 * @param {string} label is said below the count; empty: nothing is
 */
function cell(images, of, right, label) {
  const look = right ? "right" : images ? "off" : "off none";
  const says = label && images ? el("small", {}, right ? "right" : `called ${label}`) : "";
  const node = el("span", { class: `cell ${look}` }, images || "·", says);
  node.style.setProperty("--share", String(of ? Math.sqrt(images / of) : 0));
  return node;
}

/**
 * @param {number[][]} counts
 * @param {string[]} classes
 * @param {string} model
 */
function worst(counts, classes, model) {
  const most = mixedUp(counts);
  const rows = most.slice(0, WORST).map((one) => [classes[one.truth], classes[one.answer], `${number(one.count)} of ${number(one.of)}`]);
  if (!rows.length) return el("p", {}, "No mistakes.");
  return table(`The most frequent mistakes of ${model}`, ["It is", "It said", "How often"], rows);
}

/**
 * List the pairs of classes that are taken for each other, the most frequent first.
 *
 * @param {number[][]} counts
 */
export function mixedUp(counts) {
  const all = counts.flatMap((row, truth) => {
    const of = row.reduce((sum, one) => sum + one, 0);
    return row.map((count, answer) => ({ truth, answer, count, of }));
  });
  return all.filter((one) => one.truth !== one.answer && one.count).sort((a, b) => b.count - a.count);
}
