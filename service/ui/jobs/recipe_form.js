// The form of a recipe, built from its schema: an entry each, the simple ones first.

import { el } from "../lib/dom.js";
import { field, value } from "../lib/fields.js";

const SIMPLE = ["dataset", "network", "weights", "epochs", "train_samples", "seed"];
const GROUPS = [
  ["Data", ["image_size", "augmentation", "validation_fraction", "class_weights"]],
  ["Fine-tuning", ["freeze", "unfreeze_after"]],
  ["Optimization", ["batch_size", "optimizer", "learning_rate", "schedule", "warmup_fraction", "momentum",
    "weight_decay", "gradient_clipping", "label_smoothing", "ema"]],
  ["The run", ["name", "priority", "time_limit_s", "max_attempts", "precision", "device", "devices", "compile",
    "early_stopping"]],
  ["Afterwards", ["publish", "metadata", "webhook"]],
]; // prettier-ignore
const GROUPED = new Set([...SIMPLE, ...GROUPS.flatMap(([, names]) => names)]);

export class RecipeForm {
  /** `choices`: [[value, text], ...] and `presets`: a value, for some of the simple fields. */
  constructor(schema, choices, presets, submit) {
    this.more = el("details", { class: "wide" });
    this.whole = el("p", { class: "wide error", role: "alert" });
    const simple = SIMPLE.map((name) =>
      field(name, schema.properties[name], { choices: choices[name], preset: presets[name], all: schema }),
    );
    const start = el("p", { class: "actions wide" }, el("button", { class: "primary" }, "Start training"));
    const own = { class: "grid", novalidate: true, on: { submit } };
    this.node = el("form", own, simple, this.more, start, this.whole);
    this.adapt(schema);
  }

  /** To the schema of another network; what was entered stays. */
  adapt(schema) {
    const entered = this.#inputs().map((node) => [node.name, node.multiple ? [] : node.value]);
    this.schema = schema;
    this.more.replaceChildren(el("summary", {}, "More"), ...groups(schema));
    for (const [name, text] of entered) this.#set(this.node.elements[name], text);
  }

  /** What a field that offers a choice does not offer any more stays as it is by default. */
  #set(node, text) {
    if (node.multiple || !text) return;
    if (!node.options || [...node.options].some((one) => one.value === text)) node.value = text;
  }

  #inputs() {
    return [...this.node.elements].filter((node) => node.name);
  }

  /** As the service takes it. */
  recipe() {
    const found = {};
    for (const node of this.#inputs()) {
      const entered = value(node, this.#schemaOf(node.name));
      if (entered !== undefined) put(found, node.name.split("."), entered);
    }
    return found;
  }

  #schemaOf(name) {
    const [top, inner] = name.split(".");
    const one = this.schema.properties[top];
    if (!inner) return one;
    const { $ref } = one.anyOf.find((kind) => kind.$ref);
    return this.schema.$defs[$ref.split("/").pop()].properties[inner];
  }

  /** Each error beside its field, by JSON pointer, or beside the entry that it is in. */
  mark({ errors }) {
    for (const { pointer, detail } of errors) {
      const place = this.#place(pointer.split("/").slice(1));
      place.append(el("span", {}, place === this.whole && pointer ? `${pointer}: ${detail}` : detail));
      place.closest("details")?.setAttribute("open", "");
      this.node.elements[place.id.replace(/-error$/, "")]?.setAttribute("aria-invalid", "true");
    }
    this.node.querySelector("[aria-invalid]:not(fieldset)")?.focus();
  }

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

/** An entry that no group knows of yet is there all the same, and one that is no more is left out. */
function groups(schema) {
  const others = Object.keys(schema.properties).filter((name) => !GROUPED.has(name));
  const known = (names) => names.filter((name) => name in schema.properties);
  const all = others.length ? [...GROUPS, ["Others", others]] : GROUPS;
  return all.map(([title, names]) =>
    el(
      "section",
      { "aria-label": title },
      el("h2", {}, title),
      el("div", { class: "grid" }, known(names).map((name) => field(name, schema.properties[name], { all: schema }))),
    ),
  );
}

function put(target, [first, ...rest], entered) {
  if (rest.length) put((target[first] ??= {}), rest, entered);
  else target[first] = entered;
}
