// Which version serves under a name: promotion and rollback are the same call.

import { readiness } from "../health.js";
import { title } from "../lib/format.js";
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
  const named = title(model);
  place.textContent = `${named} is loaded and tested …`;
  await api.send("PUT", `models/${model.name}/aliases/serving`, { version: model.version });
  let looks = 0;
  await every(LOOK_MS, signal, async () => {
    const said = await outcome(api, signal, model);
    place.textContent = said;
    looks += 1;
    return looks < MAX_POLLS && said.endsWith("…");
  });
}

/**
 * @param {ApiClient} api
 * @param {AbortSignal} signal
 * @param {ModelView} before as it was before it was promoted
 */
async function outcome(api, signal, before) {
  /** @type {ModelView} */
  const now = await api.get(`models/${before.id}`, signal);
  if (now.served_at !== before.served_at) return `${title(now)} answers now.`;
  const { target } = (await readiness()).checks;
  const refusal = target.refused?.find((one) => one.model_id === before.id);
  return refusal ? `${title(now)} was refused: ${refusal.detail}` : `${title(now)} is loaded and tested …`;
}
