// The form of a recipe, built from its schema: an entry each, the simple ones first.

import { el, entry } from "../lib/dom.js";
import { alone, field, isMultiple, value } from "../lib/fields.js";

const SIMPLE = ["dataset", "network", "weights", "epochs", "train_samples", "seed"];
/** @type {[title: string, names: string[]][]} */
const GROUPS = [
  ["Data", ["image_size", "image_fit", "augmentation", "validation_fraction", "class_weights"]],
  ["Fine-tuning", ["freeze", "unfreeze_after"]],
  ["Optimization", ["batch_size", "optimizer", "learning_rate", "schedule", "warmup_fraction", "momentum",
    "weight_decay", "gradient_clipping", "label_smoothing", "ema"]],
  ["The run", ["name", "priority", "time_limit_s", "max_attempts", "precision", "device", "devices", "compile",
    "early_stopping", "rerun"]],
  ["Afterwards", ["publish", "metadata", "webhook"]],
]; // prettier-ignore
const GROUPED = new Set([...SIMPLE, ...GROUPS.flatMap(([, names]) => names)]);

/** @typedef {{ [name: string]: unknown }} Tree what was entered, by name; entries of entries are trees too */

export class RecipeForm {
  /**
   * @param {RecipeSchema} schema
   * @param {Record<string, Choice[]>} choices of some of the simple fields
   * @param {Record<string, string>} presets of some of the simple fields
   * @param {(event: SubmitEvent) => unknown} submit
   */
  constructor(schema, choices, presets, submit) {
    this.schema = schema;
    this.more = el("details", { class: "wide" });
    this.whole = el("p", { class: "wide error", role: "alert" });
    this.start = el("button", { class: "primary" }, "Start training");
    const simple = SIMPLE.map((name) =>
      field(name, schema.properties[name], { choices: choices[name], preset: presets[name], all: schema }),
    );
    const own = { class: "grid", novalidate: true, on: { submit } };
    this.node = el("form", own, simple, this.more, el("p", { class: "actions wide" }, this.start), this.whole);
    this.adapt(schema);
  }

  /**
   * Take the schema of another network; what was entered stays.
   *
   * @param {RecipeSchema} schema
   */
  adapt(schema) {
    const entered = this.#inputs().filter((node) => !isMultiple(node) && node.value);
    this.schema = schema;
    this.more.replaceChildren(el("summary", {}, "More"), ...groups(schema));
    for (const { name, value: text } of entered) restore(entry(this.node, name), text);
  }

  #inputs() {
    return /** @type {Entry[]} */ ([...this.node.elements]).filter((node) => node.name);
  }

  /** Give what was entered as the service takes it. Defaults are not sent: a preset may have others. */
  recipe() {
    /** @type {Tree} */
    const found = {};
    for (const node of this.#inputs()) {
      const schema = this.#schemaOf(node.name);
      const entered = value(node, schema);
      const isDefault = entered === schema.default && node.name !== "network" && !node.name.includes(".");
      if (entered !== undefined && !isDefault) put(found, node.name.split("."), entered);
    }
    return found;
  }

  /** @param {string} name */
  #schemaOf(name) {
    const [top, inner] = name.split(".");
    const one = this.schema.properties[top];
    return inner ? /** @type {RecipeSchema} */ (alone(one, this.schema)).properties[inner] : one;
  }

  /**
   * Show each error beside its field, by JSON pointer, or beside the entry that it is in.
   *
   * @param {FieldError[]} errors
   */
  mark(errors) {
    for (const { pointer, detail } of errors) {
      const place = this.#place(pointer.split("/").slice(1));
      place.append(el("span", {}, place === this.whole && pointer ? `${pointer}: ${detail}` : detail));
      place.closest("details")?.setAttribute("open", "");
      document.getElementById(place.id.replace(/-error$/, ""))?.setAttribute("aria-invalid", "true");
    }
    const first = /** @type {HTMLElement | null} */ (this.node.querySelector("[aria-invalid]:not(fieldset)"));
    first?.focus();
  }

  /** @param {string[]} path */
  #place(path) {
    for (let length = path.length; length; length--) {
      const place = document.getElementById(`${path.slice(0, length).join(".")}-error`);
      if (place) return place;
    }
    return this.whole;
  }

  clear() {
    for (const node of this.node.querySelectorAll("[aria-invalid]")) node.removeAttribute("aria-invalid");
    for (const node of this.node.querySelectorAll(".error")) node.replaceChildren();
  }
}

/**
 * Make the rarer entries. One that no group knows of yet is there all the same; one that is no more is left out.
 *
 * @param {RecipeSchema} schema
 */
function groups(schema) {
  const others = Object.keys(schema.properties).filter((name) => !GROUPED.has(name));
  /** @param {string[]} names */
  const fields = (names) =>
    names.filter((name) => name in schema.properties).map((name) => field(name, schema.properties[name], { all: schema }));
  /** @type {typeof GROUPS} */
  const all = others.length ? [...GROUPS, ["Others", others]] : GROUPS;
  return all.map(([title, names]) =>
    el("section", { "aria-label": title }, el("h2", {}, title), el("div", { class: "grid" }, fields(names))),
  );
}

/**
 * Enter the text again. What a choice does not offer any more stays as it is by default.
 *
 * @param {Entry} node
 * @param {string} text
 */
function restore(node, text) {
  if (node instanceof HTMLSelectElement && ![...node.options].some((one) => one.value === text)) return;
  node.value = text;
}

/**
 * @param {Tree} target
 * @param {string[]} path
 * @param {unknown} entered
 */
function put(target, [first, ...rest], entered) {
  if (!rest.length) {
    target[first] = entered;
    return;
  }
  target[first] ??= {};
  put(/** @type {Tree} */ (target[first]), rest, entered);
}
