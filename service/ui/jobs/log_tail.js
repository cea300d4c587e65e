// The end of the trainer's own output. Read only while it is open: it may be a megabyte.

import { errorText } from "../lib/api.js";
import { el } from "../lib/dom.js";
import { Fold } from "../lib/fold.js";

const LINES = 200;
const READ_MS = 3_000;

export class LogTail {
  /**
   * @param {ApiClient} api
   * @param {string} path
   * @param {AbortSignal} signal
   */
  constructor(api, path, signal) {
    this.text = el("pre", { class: "log", tabindex: "0", "aria-label": "The trainer's output" });
    const { node } = new Fold("Log", this.text, "what the trainer wrote");
    node.addEventListener("toggle", () => this.#read());
    this.node = node;
    this.api = api;
    this.path = path;
    this.signal = signal;
    this.readAt = 0; // by the clock, in ms
    this.written = false;
  }

  /** @param {JobView} job */
  update(job) {
    this.written = job.attempt > 0;
    if (Date.now() - this.readAt > READ_MS) this.#read();
  }

  async #read() {
    if (!this.node.open || !this.written) return;
    this.readAt = Date.now();
    try {
      const answer = await this.api.fetch(`${this.path}/logs`, { signal: this.signal });
      this.#show((await answer.text()).trimEnd().split("\n").slice(-LINES).join("\n"));
    } catch (error) {
      if (!this.signal.aborted) this.#show(errorText(error));
    }
  }

  /** @param {string} text */
  #show(text) {
    if (text === this.text.textContent) return;
    const atEnd = this.text.scrollTop + this.text.clientHeight >= this.text.scrollHeight - 5;
    this.text.textContent = text;
    if (atEnd) this.text.scrollTop = this.text.scrollHeight;
  }
}
