// A field of a form for a property of a JSON Schema, and what was entered into it.

import { el } from "./dom.js";
import { about, label } from "./labels.js";

/** `name`: where in the whole it belongs, parted by dots. `choices`: [[value, text], ...]; `preset`: for the default;
 * `all`: the schema that this one is in. */
export function field(name, schema, { choices, preset, all } = {}) {
  const shape = alone(schema, all);
  if (shape.properties) return group(name, schema, shape, all);
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

/** An entry that has entries of its own. */
function group(name, schema, shape, all) {
  const inner = Object.entries(shape.properties).map(([key, one]) => field(`${name}.${key}`, one, { all }));
  const hint = el("p", { class: "hint wide" }, `${about(name, schema)} What you fill in here switches it on.`);
  const error = el("p", { class: "error wide", id: `${name}-error`, role: "alert" });
  return el("fieldset", { class: "grid wide" }, el("legend", {}, label(name)), hint, inner, error);
}

function input(own, schema, shape, shown, choices) {
  if (shape.type === "array") {
    const several = { ...own, multiple: true, size: choices.length };
    return el("select", several, choices.map(([one, text]) => option(one, text)));
  }
  if (choices) return el("select", own, choices.map(([one, text]) => option(one, text, one === shown)));
  if (shape.type === "object") return el("textarea", { ...own, rows: "3", placeholder: "author: me" });
  const type = schema.writeOnly ? "password" : "text";
  return el("input", { ...own, type, placeholder: shown, autocomplete: "off" });
}

const option = (value, text, selected) => el("option", { value, selected }, text);

function options(schema, shape) {
  const values = shape.enum || shape.items?.enum || (takes(schema, "boolean") ? ["auto", "true", "false"] : null);
  return values?.map((value) => [value, value]);
}

function hint(name, schema, shape) {
  const auto = schema["x-auto"];
  const here = ["string", "number"].includes(typeof auto) ? `"auto" is ${auto} with this network.` : "";
  const lines = shape.type === "object" ? "A line for each: name, colon, value." : "";
  return [about(name, schema), lines, here].filter(Boolean).join(" ");
}

const kinds = (schema) => schema.anyOf || [schema];
const takes = (schema, type) => kinds(schema).some((one) => one.type === type && one.const === undefined);

/** Without the null, and where it is told elsewhere in the schema `all`, as it is told there. */
function alone(schema, all) {
  const [first] = kinds(schema).filter((one) => one.type !== "null");
  return first.$ref ? all.$defs[first.$ref.split("/").pop()] : first;
}

/** As JSON; undefined: nothing was entered. The service judges what cannot be read. */
export function value(node, schema) {
  if (node.multiple) return node.selectedOptions.length ? [...node.selectedOptions].map((one) => one.value) : undefined;
  const text = node.value.trim();
  if (!text) return undefined;
  if (schema.type === "object") return pairs(text);
  if (takes(schema, "string") || Number.isNaN(Number(text))) return takes(schema, "boolean") ? boolean(text) : text;
  return Number(text);
}

const boolean = (text) => ({ true: true, false: false })[text] ?? text;

function pairs(text) {
  const parted = (line) => line.match(/^\s*([^:]*?)\s*:\s*(.*?)\s*$/)?.slice(1) ?? [line.trim(), ""];
  return Object.fromEntries(text.split("\n").filter((line) => line.trim()).map(parted));
}
