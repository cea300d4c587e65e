// Which model serves: promotion and rollback are the same call.

import { readiness } from "../health.js";
import { every } from "../lib/time.js";

const LOOK_MS = 300;
const MAX_POLLS = 200;

/**
 * Point `serving` at the model, and say in `place` what came of it: it is loaded and tested first.
 *
 * @param {ApiClient} api
 * @param {AbortSignal} signal
 * @param {ModelView} model
 * @param {HTMLElement} place
 */
export async function serve(api, signal, model, place) {
  place.textContent = `Version ${model.version} is loaded and tested …`;
  await api.send("PUT", "models/aliases/serving", { model: model.id });
  let looks = 0;
  await every(LOOK_MS, signal, async () => {
    const said = await outcome(model);
    place.textContent = said;
    looks += 1;
    return looks < MAX_POLLS && said.endsWith("…");
  });
}

/** @param {ModelView} model */
async function outcome(model) {
  const { checks } = await readiness();
  if (checks.model.model_id === model.id) return `Version ${model.version} serves now.`;
  if (checks.target.model_id === model.id) return `Version ${model.version} was refused: ${checks.target.detail}`;
  return `Version ${model.version} is loaded and tested …`;
}
