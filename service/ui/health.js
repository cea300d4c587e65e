// The line in the header: what serves, and whether jobs are worked on. /readyz needs no key.

import { el } from "./lib/dom.js";
import { every } from "./lib/time.js";

const LOOK_MS = 5_000;

/** @param {HTMLElement} line */
export async function watchHealth(line) {
  await every(LOOK_MS, new AbortController().signal, async () => {
    const parts = await sentence();
    if (parts.join(" · ") !== line.textContent) line.replaceChildren(el("span", {}, parts.join(" · ")));
  });
}

/** Ask whether the service is ready; it says so while it is not, too. */
export async function readiness() {
  const answer = await fetch("readyz");
  return /** @type {Readiness} */ (await answer.json());
}

async function sentence() {
  try {
    const { model, worker, target } = (await readiness()).checks;
    const serving = model.ok ? `${model.name}/${model.version} serves` : "no model serves";
    return [
      serving,
      ...(target.refused ?? []).map((one) => `${one.model_id} was refused`),
      worker.ok ? `${worker.live} worker${worker.live === 1 ? "" : "s"}` : "no worker: jobs wait",
    ];
  } catch {
    return ["the service cannot be reached"];
  }
}
