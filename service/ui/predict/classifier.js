// Classifies photos, one after the other, and keeps the answer for each.

import { el, nodes } from "../lib/dom.js";
import { errorText } from "../lib/api.js";
import { percent } from "../lib/format.js";
import { answer } from "./prediction.js";

/**
 * `drawn`: it is not kept beside the photos.
 *
 * @typedef {{ image: Blob, url: string, drawn: boolean, found: Predictions | null, error: string }} Classified
 */

export class Classifier {
  /**
   * @param {ApiClient} api
   * @param {AbortSignal} signal
   * @param {{ query: () => URLSearchParams, correct: (photo: Classified) => Child }} options
   */
  constructor(api, signal, options) {
    this.node = el("section", { class: "card look-at stick", "aria-label": "Answer", "aria-live": "polite" });
    this.tiles = el("div", { class: "photos" });
    this.api = api;
    this.signal = signal;
    this.options = options;
    /** @type {Classified[]} the newest first */
    this.classified = [];
    /** @type {Classified | null} */
    this.current = null;
    this.running = new AbortController();
    signal.addEventListener("abort", () => this.#leave());
    this.forget();
  }

  #leave() {
    this.running.abort();
    for (const { url } of this.classified) URL.revokeObjectURL(url);
  }

  forget() {
    this.running.abort();
    this.current = null;
    this.#draw();
  }

  /** Classify all again: another model answers, or it shall explain. */
  again() {
    const all = new Set([...(this.current ? [this.current] : []), ...this.classified]);
    this.#run([...all]);
  }

  /**
   * Classify photos; what is still running is cancelled.
   *
   * @param {Blob[]} images
   * @param {boolean} drawn
   */
  classify(images, drawn = false) {
    const fresh = images.map((image) => ({ image, url: URL.createObjectURL(image), drawn, found: null, error: "" }));
    if (!drawn) this.classified.unshift(...fresh);
    this.current = fresh[0] ?? this.current;
    return this.#run(fresh);
  }

  /** @param {Classified[]} all */
  async #run(all) {
    this.running.abort();
    this.running = new AbortController();
    const { signal } = this.running;
    this.node.setAttribute("aria-busy", "true");
    for (const one of all) {
      try {
        const found = await this.#predict(one.image, signal);
        Object.assign(one, { found, error: "" });
      } catch (error) {
        if (signal.aborted) return;
        Object.assign(one, { found: null, error: errorText(error) });
      }
      if (signal.aborted) return;
      this.#draw();
    }
    this.node.removeAttribute("aria-busy");
  }

  /**
   * @param {Blob} image
   * @param {AbortSignal} signal
   * @returns {Promise<Predictions>}
   */
  async #predict(image, signal) {
    const body = new FormData();
    body.append("file", image, image instanceof File ? image.name : "drawing.png");
    return (await this.api.fetch(`predict?${this.options.query()}`, { method: "POST", body, signal })).json();
  }

  #draw() {
    this.tiles.replaceChildren(...this.classified.map((one) => this.#tile(one)));
    const { current } = this;
    if (!current) this.node.replaceChildren(el("p", { class: "empty soft" }, "Drop, paste or choose photos"));
    else if (current.error) this.node.replaceChildren(el("p", { class: "error body" }, current.error));
    else if (current.found) this.node.replaceChildren(...nodes(answer(current.found, current, this.options.correct(current))));
  }

  /** @param {Classified} one */
  #tile(one) {
    const [said] = one.found?.predictions ?? [];
    const unsure = said?.abstained ?? false;
    const label = one.error ? "could not be read" : unsure ? "not like its photos" : (said?.label ?? "…");
    const choose = () => {
      this.current = one;
      this.#draw();
    };
    return el(
      "figure",
      { class: `tile ${unsure || one.error ? "unsure" : ""} ${one === this.current ? "chosen" : ""}` },
      el("button", { type: "button", class: "photo", "aria-label": `Look at this one: ${label}`, on: { click: choose } }, el("img", { src: one.url, alt: "" })),
      unsure ? el("span", { class: "badge doubt", "aria-hidden": "true" }, "?") : "",
      el("figcaption", {}, el("span", { class: "name" }, label), el("span", { class: "sure" }, unsure ? "" : percent(said?.top_k?.[0]?.probability, 0))),
    );
  }
}
