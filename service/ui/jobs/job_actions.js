// What can be done with a job in its state.

import { button, el } from "../lib/dom.js";
import { state } from "./jobs.js";

const CANCEL = ["Cancel", "cancel"];
const KEEP = ["Cancel and keep the best", "cancel?keep=true"];
const PAUSE = ["Pause", "pause"];
const POSSIBLE = {
  queued: [PAUSE, CANCEL],
  running: [PAUSE, CANCEL, KEEP],
  paused: [["Resume", "resume"], CANCEL],
  pausing: [["Resume", "resume"], CANCEL],
  cancelling: [],
  failed: [["Retry", "retry"]],
  cancelled: [["Retry", "retry"]],
  succeeded: [],
};

export class JobButtons {
  /** `update` is given the job as it is after what was done. */
  constructor(api, path, update, fail) {
    this.node = el("p", { class: "actions" });
    Object.assign(this, { api, path, fail, told: update, shown: null });
  }

  /** Drawn anew only in a new state, so that a button keeps the keyboard's focus. */
  update(job) {
    if (state(job) === this.shown) return;
    this.shown = state(job);
    const model = job.model_id && el("a", { class: "button primary", href: "#/try" }, "Try it");
    const press = ([text, action]) => button(text, ({ target }) => this.#act(action, target));
    const buttons = POSSIBLE[this.shown].map(press);
    this.node.replaceChildren(...buttons, model || "");
  }

  async #act(action, pressed) {
    pressed.disabled = true;
    try {
      const job = await this.api.send("POST", `${this.path}/${action}`);
      if (action === "retry") location.hash = `#/jobs/${job.id}`;
      else this.told(job);
    } catch (error) {
      this.fail(error);
    } finally {
      pressed.disabled = false;
    }
  }
}
