// Waiting, until the reader goes elsewhere.

import { passes } from "./api.js";

/**
 * Wait for that time, or until the signal aborts.
 *
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export function pause(ms, signal) {
  return new Promise((done) => {
    if (signal.aborted) return done();
    const timer = setTimeout(done, ms);
    const stop = () => {
      clearTimeout(timer);
      done();
    };
    signal.addEventListener("abort", stop, { once: true });
  });
}

/**
 * Call `look` again and again while the page is seen, until it answers false or the signal aborts.
 *
 * @param {number} ms
 * @param {AbortSignal} signal
 * @param {() => Promise<unknown>} look
 */
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
