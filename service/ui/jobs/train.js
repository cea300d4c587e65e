// The view that starts a job. The form's words come from the recipe's schema; the service judges what is entered.

import { Problem } from "../lib/api.js";
import { el, entry } from "../lib/dom.js";
import { number, title } from "../lib/format.js";
import { RecipeForm } from "./recipe_form.js";

/** @param {ViewContext} context */
export async function trainView({ main, api, signal, query, fail }) {
  /** @type {(network: string) => Promise<RecipeSchema>} */
  const schemaOf = (network) => api.get(`networks/${encodeURIComponent(network)}`, signal);
  const presets = Object.fromEntries(query);
  const [schema, choices] = await Promise.all([schemaOf(presets.network || "resnet50"), choicesOf(api, signal)]);
  const form = new RecipeForm(schema, choices, presets, submit);
  const network = entry(form.node, "network");
  form.node.addEventListener("change", ({ target }) => {
    if (!(target instanceof HTMLSelectElement) || target.name !== "preset" || target.value !== "quick") return;
    network.value = "efficientnet_lite0";
    network.dispatchEvent(new Event("change"));
  });
  network.addEventListener("change", () => schemaOf(network.value).then((other) => form.adapt(other)).catch(fail));

  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    form.clear();
    form.start.disabled = true;
    try {
      /** @type {JobView} */
      const job = await api.send("POST", "jobs", form.recipe());
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      if (error instanceof Problem && error.errors.length) form.mark(error.errors);
      else fail(error);
    } finally {
      form.start.disabled = false;
    }
  }
  main.replaceChildren(el("h1", {}, "Train a network"), form.node);
}

/**
 * @param {ApiClient} api
 * @param {AbortSignal} signal
 * @returns {Promise<Record<string, Choice[]>>}
 */
async function choicesOf(api, signal) {
  const [datasets, networks, models] = await Promise.all([
    /** @type {Promise<{ data: DatasetSummary[] }>} */ (api.get("datasets", signal)),
    /** @type {Promise<{ data: NetworkView[] }>} */ (api.get("networks", signal)),
    /** @type {Promise<ModelPage>} */ (api.get("models?limit=100", signal)),
  ]);
  return {
    dataset: datasets.data.map((one) => [one.name, counted(one)]),
    network: networks.data.map((one) => [one.name, `${one.name} · ${(one.parameters / 1e6).toFixed(1)} M`]),
    weights: [
      ["imagenet", "imagenet: pre-trained"],
      ["random", "random"],
      .../** @type {Choice[]} */ (models.data.map((one) => [one.id, `go on from ${title(one)} · ${one.network}`])),
    ],
  };
}

/** @param {DatasetSummary} dataset */
function counted({ name, images, available }) {
  if (!available) return `${name} · is fetched first`;
  return images ? `${name} · ${number(images)} images` : name;
}
