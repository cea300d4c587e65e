// A field of a form for a property of a JSON Schema, and what was entered into it.

import { el } from "./dom.js";
import { about, label } from "./labels.js";

/**
 * Make the field of an entry, or the fields of an entry that has entries of its own.
 *
 * @param {string} name where in the whole it belongs, parted by dots
 * @param {Schema} schema
 * @param {{ all: RecipeSchema, choices?: Choice[], preset?: string }} more `all`: the schema that this one is in;
 *   `preset`: for the default
 * @returns {HTMLElement}
 */
export function field(name, schema, { all, choices, preset }) {
  const shape = alone(schema, all);
  if (shape.properties) return group(name, schema, shape.properties, all);
  const shown = String(preset ?? schema.default ?? "");
  const own = { id: name, name, "aria-describedby": `${name}-hint ${name}-error`, spellcheck: "false" };
  return el(
    "div",
    {},
    el("label", { for: name, title: name }, label(name)),
    input(own, schema, shape, shown, choices || options(schema, shape)),
    el("p", { class: "hint", id: `${name}-hint` }, hint(name, schema, shape)),
    el("p", { class: "error", id: `${name}-error`, role: "alert" }),
  );
}

/**
 * @param {string} name
 * @param {Schema} schema
 * @param {Record<string, Schema>} properties
 * @param {RecipeSchema} all
 */
function group(name, schema, properties, all) {
  const inner = Object.entries(properties).map(([key, one]) => field(`${name}.${key}`, one, { all }));
  const hint = el("p", { class: "hint wide-cells" }, `${about(name, schema)} What you fill in here switches it on.`);
  const error = el("p", { class: "error wide-cells", id: `${name}-error`, role: "alert" });
  return el("fieldset", { class: "grid wide-cells" }, el("legend", {}, label(name)), hint, inner, error);
}

/**
 * @param {Attributes} own
 * @param {Schema} schema
 * @param {Schema} shape
 * @param {string} shown
 * @param {Choice[] | undefined} choices
 */
function input(own, schema, shape, shown, choices) {
  if (choices && shape.type === "array") {
    const several = { ...own, multiple: true, size: choices.length };
    return el("select", several, choices.map(([one, text]) => option(one, text)));
  }
  if (choices) return el("select", own, choices.map(([one, text]) => option(one, text, one === shown)));
  if (shape.type === "object") return el("textarea", { ...own, rows: "3", placeholder: "author: me" });
  const type = schema.writeOnly ? "password" : "text";
  return el("input", { ...own, type, placeholder: shown, autocomplete: "off" });
}

/**
 * @param {string} value
 * @param {string} text
 * @param {boolean} selected
 */
const option = (value, text, selected = false) => el("option", { value, selected }, text);

/**
 * @param {Schema} schema
 * @param {Schema} shape
 * @returns {Choice[] | undefined}
 */
function options(schema, shape) {
  const values = shape.enum || shape.items?.enum || (takes(schema, "boolean") ? ["auto", "true", "false"] : undefined);
  return values?.map((value) => [value, value]);
}

/**
 * @param {string} name
 * @param {Schema} schema
 * @param {Schema} shape
 */
function hint(name, schema, shape) {
  const auto = schema["x-auto"];
  const here = ["string", "number"].includes(typeof auto) ? `"auto" is ${auto} with this network.` : "";
  const lines = shape.type === "object" ? "A line for each: name, colon, value." : "";
  return [about(name, schema), lines, here].filter(Boolean).join(" ");
}

/** @param {Schema} schema */
const kinds = (schema) => schema.anyOf || [schema];

/**
 * @param {Schema} schema
 * @param {string} type
 */
const takes = (schema, type) => kinds(schema).some((one) => one.type === type && one.const === undefined);

/**
 * Leave out the null, and follow a reference into the schema `all`.
 *
 * @param {Schema} schema
 * @param {RecipeSchema} all
 */
export function alone(schema, all) {
  const [first] = kinds(schema).filter((one) => one.type !== "null");
  return first.$ref ? all.$defs[first.$ref.slice(first.$ref.lastIndexOf("/") + 1)] : first;
}

/**
 * Say whether several of a field's choices can be chosen.
 *
 * @param {Entry} node
 * @returns {node is HTMLSelectElement}
 */
export const isMultiple = (node) => node instanceof HTMLSelectElement && node.multiple;

/**
 * Read a field as JSON; undefined: nothing was entered. The service judges what cannot be read.
 *
 * @param {Entry} node
 * @param {Schema} schema
 */
export function value(node, schema) {
  if (isMultiple(node)) return severalOf([...node.selectedOptions]);
  const text = node.value.trim();
  if (!text) return undefined;
  if (schema.type === "object") return pairs(text);
  if (takes(schema, "string") || Number.isNaN(Number(text))) return takes(schema, "boolean") ? boolean(text) : text;
  return Number(text);
}

/** @param {HTMLOptionElement[]} chosen */
const severalOf = (chosen) => (chosen.length ? chosen.map((one) => one.value) : undefined);

/** @param {string} text */
const boolean = (text) => (text === "true" || text === "false" ? text === "true" : text);

/** @param {string} text */
function pairs(text) {
  /** @type {(line: string) => string[]} */
  const parted = (line) => line.match(/^\s*([^:]*?)\s*:\s*(.*?)\s*$/)?.slice(1) ?? [line.trim(), ""];
  return Object.fromEntries(text.split("\n").filter((line) => line.trim()).map(parted));
}
