// The line in the header: whether jobs are worked on, and which one is. /readyz needs no key.

import { el } from "./lib/dom.js";
import { every } from "./lib/time.js";

const LOOK_MS = 5_000;

/** @typedef {[kind: "" | "held", text: string, more: string]} Line */

/** @param {HTMLElement} place */
export async function watchHealth(place) {
  await every(LOOK_MS, new AbortController().signal, async () => {
    const [kind, text, more] = await line();
    if (text === place.textContent && more === place.title) return;
    place.title = more;
    place.replaceChildren(el("span", { class: `dot ${kind}` }), el("span", { class: kind ? "" : "not-phone" }, text));
  });
}

/** Request whether the service is ready; it answers while it is not, too. */
export async function readiness() {
  const answer = await fetch("readyz");
  return /** @type {Readiness} */ (await answer.json());
}

/** @returns {Promise<Line>} */
async function line() {
  try {
    const { model, worker, target } = (await readiness()).checks;
    const serving = model.ok ? `${model.name}/${model.version} answers` : "no model answers yet";
    const [refused] = target.refused ?? [];
    if (refused) return ["held", `${refused.model_id} was refused`, refused.detail];
    if (!worker.ok) return ["held", "No worker is running", `Nothing trains; ${serving}`];
    return ["", "Ready", `${serving}; ${worker.live} worker${worker.live === 1 ? "" : "s"}`];
  } catch {
    return ["held", "The service does not answer", "The page tries again every few seconds"];
  }
}
