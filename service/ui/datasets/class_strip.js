// A class of a data set as a row: its name, its photos as thumbnails, more of them on request.

import { button, el } from "../lib/dom.js";
import { editable } from "../lib/edit.js";
import { count } from "../lib/format.js";
import { chooser } from "../photos/choosers.js";
import { PhotoGrid } from "../photos/photo_grid.js";
import { imagesOf } from "../photos/thumbnails.js";

const [FIRST, PAGE] = [10, 100];

export class ClassStrip {
  /**
   * @param {{ api: ApiClient, signal: AbortSignal, fail: Fail }} context
   * @param {{ name: string, label: string, images: number, thumbnails: import("../photos/thumbnails.js").Thumbnails }} one
   *   `name`: of the data set, with its version
   * @param {import("./changes.js").Changes | null} changes null: an older version, which stays as it is
   * @param {() => unknown} chosen is called when other photos are chosen
   */
  constructor({ api, signal, fail }, { name, label, images, thumbnails }, changes, chosen) {
    this.api = api;
    this.signal = signal;
    this.fail = fail;
    this.name = name;
    this.label = label;
    this.images = images;
    /** @type {PhotoGrid<ImageView>} */
    this.grid = new PhotoGrid(`Photos of ${label}`, (image) => ({ image: thumbnails.draw(image), alt: `${image.file}${image.part === "test" ? ", for testing" : ""}` }), chosen);
    this.grid.node.classList.add("wide-strip");
    const heading = changes ? editable("h3", label, `Rename the class ${label}`, (to) => changes.rename(label, to).catch(fail)) : el("h3", {}, label);
    const add = changes && this.#adder(changes);
    this.node = el(
      "section",
      { class: "card class-row", "aria-label": `Class ${label}` },
      el("div", { class: "class-head" }, heading, el("span", { class: "soft nowrap" }, count(images, "photo")), el("span", { class: "row tight push" }, add)),
      this.grid.node,
    );
    this.#watch();
  }

  /** @param {import("./changes.js").Changes} changes */
  #adder(changes) {
    const own = { multiple: true, accept: "image/*,.heic,.heif", "aria-label": `Add photos of ${this.label}` };
    /** @param {GivenFile[]} files */
    const take = (files) => changes.add(this.label, files.map(([, file]) => file)).catch(this.fail);
    return chooser(el("span", { class: "not-phone" }, "Add photos"), own, take, { image: "plus", look: "plain" });
  }

  /** Fetch the photos when the row is seen: a data set may have hundreds of classes. */
  #watch() {
    const seen = new IntersectionObserver(([{ isIntersecting }]) => {
      if (!isIntersecting) return;
      seen.disconnect();
      this.#more(FIRST).catch(this.fail);
    });
    seen.observe(this.node);
    this.signal.addEventListener("abort", () => seen.disconnect(), { once: true });
  }

  /** @param {number} limit */
  async #more(limit) {
    const after = String(this.grid.items.at(-1)?.id ?? 0);
    const page = await imagesOf(this.api, this.signal, this.name, { class: this.label, limit: String(limit), after });
    const all = [...this.grid.items, ...page.data];
    const hidden = this.images - all.length;
    const own = { class: "more", "aria-label": `${hidden} more photos of ${this.label}` };
    this.grid.show(all, page.has_more ? button(`+${hidden}`, () => this.#more(PAGE).catch(this.fail), own) : null);
  }
}
