// The end of the trainer's own output. Read only while it is open: it may be a megabyte.

import { el } from "../lib/dom.js";

const LINES = 200;
const READ_MS = 3_000;

export class LogTail {
  constructor(api, path, signal) {
    this.text = el("pre", { tabindex: "0", "aria-label": "The trainer's output" });
    const title = el("summary", {}, "Log of the trainer");
    this.node = el("details", { on: { toggle: () => this.#read() } }, title, this.text);
    Object.assign(this, { api, path, signal, readAt: 0, written: false });
  }

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
      if (!this.signal.aborted) this.#show(error.message);
    }
  }

  #show(text) {
    if (text === this.text.textContent) return;
    const atEnd = this.text.scrollTop + this.text.clientHeight >= this.text.scrollHeight - 5;
    this.text.textContent = text;
    if (atEnd) this.text.scrollTop = this.text.scrollHeight;
  }
}
