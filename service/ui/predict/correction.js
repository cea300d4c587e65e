// "Wrong? It is ...": the reader's answer puts the photo into the data set, whose next version has it.

import { button, el } from "../lib/dom.js";
import { toast } from "../lib/toast.js";

export class Corrections {
  /**
   * @param {ApiClient} api
   * @param {AbortSignal} signal
   * @param {Fail} fail
   * @param {Set<string>} own names of data sets that can be changed
   */
  constructor(api, signal, fail, own) {
    this.api = api;
    this.signal = signal;
    this.fail = fail;
    this.own = own;
  }

  /**
   * Make the classes to press; nothing where the data set cannot be changed.
   *
   * @param {ModelView | undefined} model
   * @param {import("./classifier.js").Classified} photo
   */
  offer(model, photo) {
    const name = model?.dataset.split("/")[0] ?? "";
    if (!model || !this.own.has(name) || photo.drawn) return null;
    const said = photo.found?.predictions[0].label;
    const chips = model.classes.map((label) =>
      button(label, () => this.#keep(name, label, photo.image).catch(this.fail), { "aria-pressed": String(label === said) }),
    );
    return el(
      "div",
      { class: "stack tight" },
      el("p", {}, el("b", {}, "Wrong?"), " It is:"),
      el("div", { class: "chips" }, chips),
      el("p", { class: "soft small" }, `Your answer goes into the data set ${name}.`),
    );
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {Blob} image
   */
  async #keep(name, label, image) {
    const query = new URLSearchParams({ class: label });
    const headers = { "Content-Type": image.type || "image/jpeg" };
    const path = `datasets/${name}/images?${query}`;
    /** @type {DatasetCard} */
    const { version } = await (await this.api.fetch(path, { method: "POST", headers, body: image, signal: this.signal })).json();
    const undo = () => this.api.fetch(`datasets/${name}/${version}?force=true`, { method: "DELETE" }).catch(this.fail);
    const again = el("a", { class: "button", href: `#/new?dataset=${name}` }, "Train again");
    toast(this.signal, ["Kept as ", el("b", {}, label), "."], undo, again);
  }
}
