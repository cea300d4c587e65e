// Waiting, until the reader goes elsewhere.

import { passes } from "./api.js";

/** Resolves after that time, or as soon as the signal aborts. */
export function pause(ms, signal) {
  return new Promise((done) => {
    if (signal.aborted) return done();
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
  });
}

/** Calls `look` again and again while the page is seen, until it answers false or the signal aborts. */
export async function every(ms, signal, look) {
  while (!signal.aborted) {
    try {
      if ((await look()) === false) return;
    } catch (error) {
      if (!signal.aborted && !passes(error)) throw error;
    }
    do await pause(ms, signal);
    while (document.hidden && !signal.aborted);
  }
}
