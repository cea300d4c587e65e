// The form that starts a job. Its words come from the recipe's schema; the service judges what is entered.

import { Problem } from "./api.js";
import { el, table } from "./dom.js";
import { number, words } from "./format.js";

const FIELDS = ["dataset", "network", "weights", "epochs", "train_samples", "seed"];
const MORE = "more"; // the box for the other fields, and for errors that belong to none

export async function trainView({ main, api, signal, query, fail }) {
  const network = query.get("network") || "resnet50";
  const [schema, datasets, networks, models] = await Promise.all([
    api.get(`networks/${encodeURIComponent(network)}`, signal),
    api.get("datasets", signal),
    api.get("networks", signal),
    api.get("models?limit=100", signal),
  ]);
  const choices = {
    dataset: datasets.data.map((one) => [one.name, counted(one)]),
    network: networks.data.map((one) => [one.name, `${one.name} · ${(one.parameters / 1e6).toFixed(1)} M`]),
    weights: [
      ["imagenet", "imagenet: pre-trained"],
      ["random", "random"],
      ...models.data.map((one) => [one.id, `go on from version ${one.version} · ${one.network}`]),
    ],
  };
  const fields = schema.properties;
  const form = el(
    "form",
    { class: "grid", novalidate: true, on: { submit } },
    FIELDS.map((name) => field(name, fields[name], choices[name])),
    everythingElse(fields),
    el("p", { class: "actions wide" }, el("button", { class: "primary" }, "Start training")),
    el("p", { class: "wide error", role: "alert" }),
  );

  async function submit(event) {
    event.preventDefault();
    clear(form);
    const start = form.querySelector(".primary");
    start.disabled = true;
    try {
      const job = await api.send("POST", "jobs", recipe(form));
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      if (error instanceof Problem && error.errors.length) mark(form, error);
      else fail(error);
    } finally {
      start.disabled = false;
    }
  }
  main.replaceChildren(el("h1", {}, "Train a network"), form);
}

const counted = ({ name, images }) => (images ? `${name} · ${number(images)} images` : name);

function field(name, { description, default: preset }, choices) {
  const own = { id: name, name, "aria-describedby": `${name}-hint ${name}-error`, spellcheck: "false" };
  const shown = preset == null ? "" : String(preset);
  const options = choices?.map(([value, text]) => el("option", { value, selected: value === shown }, text));
  const input = options
    ? el("select", own, options)
    : el("input", { ...own, placeholder: shown || "all", autocomplete: "off" });
  return el(
    "div",
    {},
    el("label", { for: name }, words(name)),
    input,
    el("p", { class: "hint", id: `${name}-hint` }, description || `A number; ${shown} unless you say otherwise.`),
    error(name),
  );
}

const error = (name) => el("p", { class: "error", id: `${name}-error`, role: "alert" });

function everythingElse(fields) {
  const others = Object.entries(fields).filter(([name]) => !FIELDS.includes(name));
  const rows = others.map(([name, one]) => [name, JSON.stringify(one.default ?? null), one.description || choice(one)]);
  const described = { "aria-describedby": `${MORE}-hint ${MORE}-error` };
  return el(
    "details",
    { class: "wide" },
    el("summary", {}, "Everything else"),
    el("label", { for: MORE }, "More fields of the recipe, as JSON"),
    el("textarea", { id: MORE, rows: "4", spellcheck: "false", placeholder: '{"batch_size": 64}', ...described }),
    el("p", { class: "hint", id: `${MORE}-hint` }, "What stands here wins over the fields above."),
    error(MORE),
    table("The other fields", ["Field", "Default", "What it is"], rows),
  );
}

const choice = (one) => (one.enum ? one.enum.join(", ") : "");

/** What was entered: numbers as numbers, the rest as it is; the service says what is wrong. */
function recipe(form) {
  const entered = FIELDS.map((name) => [name, form.elements[name].value.trim()]).filter(([, value]) => value);
  const typed = entered.map(([name, value]) => [name, Number.isNaN(Number(value)) ? value : Number(value)]);
  return { ...Object.fromEntries(typed), ...more(form.elements[MORE].value.trim()) };
}

function more(text) {
  if (!text) return {};
  try {
    const value = JSON.parse(text);
    if (value && typeof value === "object" && !Array.isArray(value)) return value;
  } catch (error) {
    throw wrong(`this is not JSON: ${error.message}`);
  }
  throw wrong("write an object: {…}");
}

const wrong = (detail) => new Problem(422, { detail, errors: [{ pointer: "", detail }] });

/** Each error beside its field, by JSON pointer; those of other fields beside the box. */
function mark(form, problem) {
  for (const { pointer, detail } of problem.errors) {
    const top = pointer.split("/")[1];
    const name = FIELDS.includes(top) ? top : MORE;
    const input = form.elements[name];
    const place = document.getElementById(`${name}-error`);
    place.append(el("span", {}, name === MORE && pointer ? `${pointer}: ${detail}` : detail));
    input.setAttribute("aria-invalid", "true");
    input.closest("details")?.setAttribute("open", "");
  }
  form.querySelector("[aria-invalid]").focus();
}

function clear(form) {
  for (const node of form.querySelectorAll("[aria-invalid]")) node.removeAttribute("aria-invalid");
  for (const node of form.querySelectorAll(".error")) node.replaceChildren();
}
