// Why a job failed, in words, and the ways on from there.

import { button, el } from "../lib/dom.js";
import { icon } from "../lib/icons.js";
import { jobName } from "../home/send.js";

/** @type {Record<string, (job: JobView) => [title: string, about: string]>} by the code of an error */
const WORDS = {
  weights_unavailable: ({ recipe }) => [
    `The ready-made weights of ${recipe.network} are not on this machine`,
    "They are fetched once from the internet, which could not be reached. Your photos are safe.",
  ],
};

/**
 * Say why a job failed, and what that means; the service's own words where there are no plainer ones.
 *
 * @param {JobView} job
 */
export const wordsOf = (job) => WORDS[job.error?.code ?? ""]?.(job) ?? [job.error?.message ?? "", job.error?.hint ?? ""];

export class Failure {
  /**
   * @param {ApiClient} api
   * @param {Fail} fail
   */
  constructor(api, fail) {
    this.api = api;
    this.fail = fail;
    this.node = el("div", { class: "stack" });
  }

  /**
   * Drawn anew only where it is another error: the traceback may be open.
   *
   * @param {JobView} job
   */
  update(job) {
    const { error, status } = job;
    const now = JSON.stringify([error, status]);
    if (this.node.dataset.shown === now) return;
    this.node.dataset.shown = now;
    const ended = status === "failed" || status === "cancelled";
    this.node.replaceChildren(...(error ? [this.#why(job)] : []), ...(ended ? [this.#ways(job)] : []));
  }

  /** @param {JobView} job */
  #why(job) {
    const { error, status } = job;
    if (!error) return "";
    const [title, about] = wordsOf(job);
    return el(
      "section",
      { class: "card stack tight", role: status === "failed" ? "alert" : null },
      el("h2", {}, status === "failed" ? title : `The last attempt died: ${title}`),
      el("p", { class: "soft" }, about),
      el(
        "details",
        { class: "fold" },
        el("summary", {}, icon("chevron"), "For the administrator", el("span", { class: "soft" }, error.code)),
        el("pre", { class: "log", tabindex: "0" }, [error.code, error.message, error.hint, error.traceback_tail, job.id].filter(Boolean).join("\n")),
      ),
    );
  }

  /** @param {JobView} job */
  #ways(job) {
    const { dataset, preset } = job.recipe;
    const quick = preset !== "quick" && job.status === "failed";
    /** @type {(event: MouseEvent) => void} */
    const again = () => this.#start(() => this.api.send("POST", `jobs/${job.id}/retry`));
    const instead = async () => {
      const name = await jobName(this.api, dataset.split("/")[0], "quick");
      return this.api.send("POST", "jobs", { dataset, preset: "quick", name });
    };
    const edit = el("a", { class: "button", href: `#/new?job=${job.id}` }, "Edit and train again");
    return el(
      "section",
      { "aria-labelledby": "ways" },
      el("h2", { id: "ways" }, "What you can do"),
      el("div", { class: "ways" }, [
        quick && way("bolt", "Train with Quick instead", "In seconds. All it needs is here.", button("Train with Quick", () => this.#start(instead), { class: "primary" }), "best"),
        way("pencil", "Change something", "Same photos and settings: change what you like.", edit),
        way("undo", "Try the same again", "It goes on from its last checkpoint.", button("Try again", again)),
      ]),
    );
  }

  /** @param {() => Promise<JobView>} begin */
  async #start(begin) {
    try {
      location.hash = `#/jobs/${(await begin()).id}`;
    } catch (error) {
      this.fail(error);
    }
  }
}

/**
 * @param {string} image
 * @param {string} title
 * @param {string} about
 * @param {HTMLElement} press
 * @param {string} look
 */
const way = (image, title, about, press, look = "") =>
  el("div", { class: `way ${look}` }, icon(image), el("h3", {}, title), el("p", {}, about), press);
