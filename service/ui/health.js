// The line in the header: what serves, and whether jobs are worked on. /readyz needs no key.

import { el } from "./lib/dom.js";
import { every } from "./lib/time.js";

const LOOK_MS = 5_000;

export async function watchHealth(line) {
  await every(LOOK_MS, new AbortController().signal, async () => {
    const parts = await sentence();
    if (parts.join(" · ") !== line.textContent) line.replaceChildren(el("span", {}, parts.join(" · ")));
  });
}

async function sentence() {
  try {
    const { checks } = await (await fetch("readyz")).json();
    const { model, worker, target } = checks;
    const serving = model.ok ? `version ${model.version} serves` : "no model serves";
    return [
      serving,
      ...(target.ok ? [] : [`${target.model_id} was refused`]),
      worker.ok ? `${worker.live} worker${worker.live === 1 ? "" : "s"}` : "no worker: jobs wait",
    ];
  } catch {
    return ["the service cannot be reached"];
  }
}
