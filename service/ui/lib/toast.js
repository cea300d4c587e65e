// What was done, said for some seconds, with the way back.

import { button, el } from "./dom.js";
import { icon } from "./icons.js";
import { pause } from "./time.js";

const SHOWN_MS = 8_000;

/**
 * @param {AbortSignal} signal
 * @param {Child} text
 * @param {(() => Promise<unknown>) | null} undo
 * @param {Child} more
 */
export function toast(signal, text, undo, more = null) {
  for (const old of document.querySelectorAll(".toast")) old.remove();
  const back = async () => {
    node.remove();
    await undo?.();
  };
  const press = undo && button("Undo", back);
  press?.prepend(icon("undo"));
  const node = el("div", { class: "toast", role: "status" }, el("span", {}, text), press, more);
  document.body.append(node);
  pause(SHOWN_MS, signal).then(() => node.remove());
}
