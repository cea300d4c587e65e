// What can be done with a job in its state.

import { button, el } from "../lib/dom.js";
import { state } from "./words.js";

/** @typedef {[title: string, action: string]} Action */

/** @type {Action} */
const CANCEL = ["Stop", "cancel"];
/** @type {Action} */
const KEEP = ["Stop and keep the best", "cancel?keep=true"];
/** @type {Action} */
const PAUSE = ["Pause", "pause"];
/** @type {Record<string, Action[]>} */
const POSSIBLE = {
  queued: [PAUSE, CANCEL],
  running: [PAUSE, CANCEL, KEEP],
  paused: [["Resume", "resume"], CANCEL],
  pausing: [["Resume", "resume"], CANCEL],
  cancelling: [],
  failed: [],
  cancelled: [],
  succeeded: [],
};

export class JobButtons {
  /**
   * @param {ApiClient} api
   * @param {string} path
   * @param {(job: JobView) => unknown} update is given the job as it is after what was done
   * @param {Fail} fail
   */
  constructor(api, path, update, fail) {
    this.node = el("span", { class: "row tight push" });
    this.api = api;
    this.path = path;
    this.onUpdate = update;
    this.fail = fail;
    this.shown = "";
  }

  /**
   * Draw anew only in a new state, so that a button keeps the keyboard's focus.
   *
   * @param {JobView} job
   */
  update(job) {
    if (state(job) === this.shown) return;
    this.shown = state(job);
    const model = job.model_id
      ? [
          el("a", { class: "button", href: `#/models/${job.model_id}` }, "See how good it is"),
          el("a", { class: "button primary", href: `#/try?model=${job.model_id}` }, "Try it"),
        ]
      : [];
    const buttons = POSSIBLE[this.shown].map((one) => this.#button(one));
    this.node.replaceChildren(...buttons, ...model);
  }

  /** @param {Action} action */
  #button([title, action]) {
    const pressed = button(title, () => this.#act(action, pressed));
    return pressed;
  }

  /**
   * @param {string} action
   * @param {HTMLButtonElement} pressed
   */
  async #act(action, pressed) {
    pressed.disabled = true;
    try {
      /** @type {JobView} */
      const job = await this.api.send("POST", `${this.path}/${action}`);
      this.onUpdate(job);
    } catch (error) {
      this.fail(error);
    } finally {
      pressed.disabled = false;
    }
  }
}
