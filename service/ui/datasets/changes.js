// Changes of a data set, photo by photo: each makes its next version, and deleting that version undoes it.

import { el } from "../lib/dom.js";
import { count } from "../lib/format.js";
import { toast } from "../lib/toast.js";
import { imagesOf } from "../photos/thumbnails.js";

const [PAGE, MOST] = [100, 1000]; // photos a page; photos that one request changes

export class Changes {
  /**
   * @param {ApiClient} api
   * @param {AbortSignal} signal
   * @param {string} name of the data set
   * @param {(card: DatasetCard | null) => unknown} changed is given the new version; null: it was taken back
   */
  constructor(api, signal, name, changed) {
    this.api = api;
    this.signal = signal;
    this.path = `datasets/${name}`;
    this.name = name;
    this.onChange = changed;
  }

  /**
   * @param {Pick<ImageView, "id">[]} images
   * @param {string} label
   */
  async move(images, label) {
    const ids = images.map((one) => one.id);
    const card = await this.api.send("PATCH", `${this.path}/images`, { images: ids, class: label });
    this.#done(card, `${count(ids.length, "photo")} moved to ${label}`);
  }

  /** @param {Pick<ImageView, "id">[]} images */
  async remove(images) {
    const query = new URLSearchParams(images.map((one) => ["id", String(one.id)]));
    const card = await (await this.api.fetch(`${this.path}/images?${query}`, { method: "DELETE" })).json();
    this.#done(card, `${count(images.length, "photo")} deleted`);
  }

  /**
   * Add photos; with no label, their folders or the archive give the classes.
   *
   * @param {string} label
   * @param {File[]} files
   */
  async add(label, files) {
    const body = new FormData();
    for (const file of files) body.append("file", file, file.name);
    const path = `${this.path}/images?${new URLSearchParams({ class: label })}`;
    const card = await (await this.api.fetch(path, { method: "POST", body, signal: this.signal })).json();
    this.#done(card, `${count(files.length, "photo")} added to ${label}`);
  }

  /**
   * Give all photos of a class another one.
   *
   * @param {string} from
   * @param {string} to
   */
  async rename(from, to) {
    /** @type {ImageView[]} */
    const all = [];
    for (let after = 0; ; ) {
      const page = await imagesOf(this.api, this.signal, this.name, { class: from, limit: String(PAGE), after: String(after) });
      all.push(...page.data);
      if (page.next === null) break;
      after = page.next;
      if (all.length > MOST) throw new Error(`Only classes of up to ${MOST} photos can be renamed here.`);
    }
    await this.move(all, to);
  }

  /** @param {number} version which is taken back */
  async undo(version) {
    await this.api.fetch(`${this.path}/${version}?force=true`, { method: "DELETE" });
    this.onChange(null);
  }

  /**
   * @param {DatasetCard} card
   * @param {string} text
   */
  #done(card, text) {
    toast(this.signal, [el("b", {}, text), `. This is version ${card.version}.`], () => this.undo(card.version));
    this.onChange(card);
  }
}
