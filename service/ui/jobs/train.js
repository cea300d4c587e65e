// The view that starts a job. The form's words come from the recipe's schema; the service judges what is entered.

import { Problem } from "../lib/api.js";
import { el } from "../lib/dom.js";
import { number } from "../lib/format.js";
import { RecipeForm } from "./recipe_form.js";

export async function trainView({ main, api, signal, query, fail }) {
  const schemaOf = (network) => api.get(`networks/${encodeURIComponent(network)}`, signal);
  const presets = Object.fromEntries(query);
  const [schema, choices] = await Promise.all([schemaOf(presets.network || "resnet50"), choicesOf(api, signal)]);
  const form = new RecipeForm(schema, choices, presets, submit);
  const network = form.node.elements.network;
  network.addEventListener("change", () => schemaOf(network.value).then((other) => form.adapt(other)).catch(fail));

  async function submit(event) {
    event.preventDefault();
    form.clear();
    const start = form.node.querySelector(".primary");
    start.disabled = true;
    try {
      const job = await api.send("POST", "jobs", form.recipe());
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      if (error instanceof Problem && error.errors.length) form.mark(error);
      else fail(error);
    } finally {
      start.disabled = false;
    }
  }
  main.replaceChildren(el("h1", {}, "Train a network"), form.node);
}

async function choicesOf(api, signal) {
  const [datasets, networks, models] = await Promise.all([
    api.get("datasets", signal),
    api.get("networks", signal),
    api.get("models?limit=100", signal),
  ]);
  return {
    dataset: datasets.data.map((one) => [one.name, counted(one)]),
    network: networks.data.map((one) => [one.name, `${one.name} · ${(one.parameters / 1e6).toFixed(1)} M`]),
    weights: [
      ["imagenet", "imagenet: pre-trained"],
      ["random", "random"],
      ...models.data.map((one) => [one.id, `go on from version ${one.version} · ${one.network}`]),
    ],
  };
}

function counted({ name, images, available }) {
  if (!available) return `${name} · is fetched first`;
  return images ? `${name} · ${number(images)} images` : name;
}
