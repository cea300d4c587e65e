// The form of a recipe, built from its schema: an entry each, the simple ones first. The data set and the preset are
// chosen elsewhere, in fields of the same form.

import { el } from "../lib/dom.js";
import { alone, field, isMultiple, value } from "../lib/fields.js";

const ALWAYS = new Set(["network", "preset"]); // sent though they may be the defaults
const ELSEWHERE = ["dataset", "preset"];
const SIMPLE = ["network", "weights", "epochs", "train_samples", "seed"];
/** @type {[title: string, names: string[]][]} */
const GROUPS = [
  ["Data", ["image_size", "image_fit", "augmentation", "validation_fraction", "class_weights"]],
  ["Fine-tuning", ["freeze", "unfreeze_after"]],
  ["Optimization", ["batch_size", "optimizer", "learning_rate", "schedule", "warmup_fraction", "momentum",
    "weight_decay", "gradient_clipping", "label_smoothing", "ema"]],
  ["The run", ["name", "priority", "time_limit_s", "max_attempts", "precision", "device", "devices", "compile",
    "early_stopping", "rerun"]],
  ["Afterwards", ["model", "publish", "metadata", "webhook"]],
]; // prettier-ignore
const GROUPED = new Set([...ELSEWHERE, ...SIMPLE, ...GROUPS.flatMap(([, names]) => names)]);

/** @typedef {{ [name: string]: unknown }} Tree what was entered, by name; entries of entries are trees too */

export class RecipeForm {
  /**
   * @param {RecipeSchema} schema
   * @param {Record<string, Choice[]>} choices of some of the simple fields
   * @param {(event: SubmitEvent) => unknown} submit
   */
  constructor(schema, choices, submit) {
    this.schema = schema;
    this.more = el("details", { class: "wide-cells" });
    this.whole = el("p", { class: "error", role: "alert" });
    const simple = SIMPLE.map((name) => field(name, schema.properties[name], { choices: choices[name], preset: choices[name]?.[0][0], all: schema }));
    this.fields = el("div", { class: "grid" }, simple, this.more);
    this.node = el("form", { id: "recipe", class: "card stack", novalidate: true, on: { submit } });
    this.adapt(schema);
  }

  /**
   * Take the schema of another network; what was entered stays.
   *
   * @param {RecipeSchema} schema
   */
  adapt(schema) {
    const entered = this.#inputs().filter((node) => !isMultiple(node) && node.value && this.more.contains(node));
    this.schema = schema;
    this.more.replaceChildren(el("summary", {}, "More"), ...groups(schema));
    for (const { name, value: text } of entered) restore(this.#field(name), text);
  }

  /**
   * Enter a recipe that was sent before, or a part of one. What is secret was not kept, and stays empty.
   *
   * @param {Tree} recipe
   */
  fill(recipe) {
    for (const [name, given] of Object.entries(flat(recipe))) {
      const node = this.#field(name);
      if (name === "preset") check(this.node, String(given ?? ""));
      if (!node || given == null || name.startsWith("webhook") || ELSEWHERE.includes(name)) continue;
      if (given !== this.#schemaOf(name).default) restore(node, String(given));
    }
  }

  #inputs() {
    const all = /** @type {Entry[]} */ ([...this.node.elements]);
    return all.filter((node) => node.name && !(node instanceof HTMLInputElement && node.type === "radio" && !node.checked));
  }

  /** @param {string} name */
  #field(name) {
    const all = /** @type {Entry[]} */ ([...this.node.elements]);
    return all.find((node) => node.name === name);
  }

  /** Give what was entered as the service takes it. Defaults are not sent: a preset may have others. */
  recipe() {
    /** @type {Tree} */
    const found = {};
    for (const node of this.#inputs()) {
      const schema = this.#schemaOf(node.name);
      const entered = value(node, schema);
      const isDefault = entered === schema.default && !ALWAYS.has(node.name) && !node.name.includes(".");
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
 * Name the entries of entries by dots; metadata becomes lines.
 *
 * @param {Tree} recipe
 * @returns {Tree}
 */
function flat(recipe) {
  const pairs = Object.entries(recipe).flatMap(([name, given]) => {
    if (!given || typeof given !== "object") return [[name, given]];
    const inner = Object.entries(given);
    if (name === "metadata") return [[name, inner.map((pair) => pair.join(": ")).join("\n")]];
    return inner.map(([key, value]) => [`${name}.${key}`, value]);
  });
  return Object.fromEntries(pairs);
}

/**
 * @param {HTMLFormElement} form
 * @param {string} preset
 */
function check(form, preset) {
  for (const node of form.querySelectorAll("input[name=preset]")) {
    if (node instanceof HTMLInputElement && node.value === preset) node.checked = true;
  }
}

/**
 * Enter the text again. What a choice does not offer any more stays as it is by default.
 *
 * @param {Entry | undefined} node
 * @param {string} text
 */
function restore(node, text) {
  if (!node) return;
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
