// A new model: what it learns from, how it should learn, and the start. Experts find the whole recipe behind Advanced.

import { errorText, Problem } from "../lib/api.js";
import { el, onDrop } from "../lib/dom.js";
import { title } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { readiness } from "../health.js";
import { RecipeForm } from "../jobs/recipe_form.js";
import { noWorker } from "../jobs/waiting.js";
import { dropped } from "../photos/source.js";
import { networkOf } from "./estimates.js";
import { ChosenDataset, GivenPhotos } from "./given.js";
import { Presets } from "./presets.js";
import { jobName } from "./send.js";
import { startScreen } from "./start.js";

/** @typedef {{ datasets: DatasetSummary[], networks: NetworkView[], models: ModelView[], done: JobView[], worker: boolean, job: JobView | null }} Known */

/** @param {ViewContext} context */
export async function newView(context) {
  const { query, draft, id } = context;
  if (id === "new" && draft.isEmpty && ![...query].length) return startScreen(context);
  const known = await look(context);
  if (!context.signal.aborted) await new NewModel(context, known).show();
}

/**
 * @param {ViewContext} context
 * @returns {Promise<Known>}
 */
async function look({ api, signal, query }) {
  const again = query.get("job");
  const [datasets, networks, models, done, ready, job] = await Promise.all([
    /** @type {Promise<{ data: DatasetSummary[] }>} */ (api.get("datasets", signal)),
    /** @type {Promise<{ data: NetworkView[] }>} */ (api.get("networks", signal)),
    /** @type {Promise<ModelPage>} */ (api.get("models?limit=100", signal)),
    /** @type {Promise<JobPage>} */ (api.get("jobs?status=succeeded&limit=100", signal)),
    readiness().catch(() => null),
    again ? /** @type {Promise<JobView>} */ (api.get(`jobs/${encodeURIComponent(again)}`, signal)) : null,
  ]);
  const worker = ready?.checks.worker.ok ?? true;
  return { datasets: datasets.data, networks: networks.data, models: models.data, done: done.data, worker, job };
}

class NewModel {
  /**
   * @param {ViewContext} context
   * @param {Known} known
   */
  constructor(context, known) {
    this.context = context;
    this.known = known;
    const { query, draft } = context;
    const wished = known.job?.recipe.dataset ?? query.get("dataset") ?? "";
    this.presets = new Presets(known.networks, known.datasets, known.done);
    this.missing = el("p", { class: "hint", role: "status" });
    this.start = el("button", { class: "primary large wide" }, "Train", icon("right"));
    const names = known.datasets.map((one) => one.name);
    const changed = () => this.#changed();
    const isGiven = !draft.isEmpty && !wished && context.id === "new";
    /** @type {GivenPhotos | ChosenDataset | null} */
    this.given = null; // while the first change comes
    this.given = isGiven ? new GivenPhotos(context, names, changed) : new ChosenDataset(context, known.datasets, wished, changed);
    this.#changed();
  }

  #changed() {
    if (!this.given) return;
    const missing = this.given.missing();
    this.presets.update(this.given.photos);
    this.missing.textContent = missing;
    this.missing.hidden = !missing;
    this.start.disabled = missing !== "";
  }

  async show() {
    const { main, signal, query, draft, id } = this.context;
    const form = await this.#form();
    if (signal.aborted || !this.given) return;
    const { job } = this.known;
    const isExpert = id === "train" || job !== null;
    const advanced = el(
      "details",
      { class: "fold", open: isExpert },
      el("summary", {}, icon("chevron"), "Advanced", el("span", { class: "soft" }, "network, epochs, learning rate …")),
      el("div", { class: "stack" }, neither(id === "train" && !job), form.fields),
    );
    form.node.append(
      el("h2", {}, "How should it learn?"),
      this.known.worker ? "" : noWorker(),
      this.presets.node,
      this.start,
      this.missing,
      form.whole,
      advanced,
    );
    const aside = el("aside", { class: "stick", "aria-label": "Train" }, form.node);
    const whole = el("div", { class: isExpert ? "split expert" : "split left" }, this.given.node, aside);
    const dock = el("div", { class: "dock only-phone" }, el("button", { class: "primary", form: "recipe" }, "Train", icon("right")));
    main.replaceChildren(whole, isExpert ? "" : dock);
    form.fill(job ? job.recipe : Object.fromEntries(query));
    onDrop(whole, async (transfer) => {
      draft.add(await dropped(transfer));
      if (this.given instanceof GivenPhotos) newView(this.context);
    });
  }

  async #form() {
    const { api, signal, fail } = this.context;
    const { networks, models } = this.known;
    /** @type {(network: string) => Promise<RecipeSchema>} */
    const schemaOf = (network) => api.get(`networks/${encodeURIComponent(network)}`, signal);
    const form = new RecipeForm(await schemaOf("resnet50"), choices(networks, models), (event) => this.#submit(event, form));
    const adapt = () => {
      const { network, preset } = form.recipe();
      const name = network ?? (preset ? networkOf(networks, String(preset)).network : "resnet50");
      schemaOf(String(name)).then((schema) => form.adapt(schema)).catch(fail);
    };
    form.node.addEventListener("change", ({ target }) => {
      if (target instanceof Element && target.matches("[name=network], [name=preset]")) adapt();
    });
    return form;
  }

  /**
   * @param {SubmitEvent} event
   * @param {RecipeForm} form
   */
  async #submit(event, form) {
    event.preventDefault();
    const { api, draft, fail } = this.context;
    if (!this.given) return;
    form.clear();
    this.start.disabled = true;
    try {
      const entered = form.recipe();
      const dataset = await this.given.dataset();
      const name = entered.name ?? (await jobName(api, dataset, entered.preset ?? entered.network));
      /** @type {JobView & { warnings: { detail: string }[] }} */
      const job = await api.send("POST", "jobs", { ...entered, ...(dataset && { dataset }), name });
      draft.clear();
      draft.warnings = job.warnings.map((one) => one.detail);
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      if (error instanceof Problem && error.errors.length) form.mark(error.errors);
      else if (!(this.given instanceof GivenPhotos)) fail(error);
      else form.whole.replaceChildren(errorText(error));
    } finally {
      this.start.disabled = false;
    }
  }
}

/**
 * The choice of no preset: every default is the service's own.
 *
 * @param {boolean} checked
 */
const neither = (checked) =>
  el("label", {}, el("input", { type: "radio", name: "preset", value: "", checked }), " Neither of the two: only what is entered here");

/**
 * @param {NetworkView[]} networks
 * @param {ModelView[]} models
 * @returns {Record<string, Choice[]>}
 */
const choices = (networks, models) => ({
  network: [["", "chosen by how it learns"], .../** @type {Choice[]} */ (networks.map((one) => [one.name, described(one)]))],
  weights: [
    ["imagenet", "ready-made (imagenet)"],
    ["random", "random"],
    .../** @type {Choice[]} */ (models.map((one) => [one.id, `go on from ${title(one)} · ${one.network}`])),
  ],
});

/** @param {NetworkView} network */
const described = ({ name, parameters, weights }) =>
  `${name} · ${(parameters / 1e6).toFixed(1)} M · weights ${weights.status === "available" ? "here" : weights.status}`;
