// What is trained on: the photos that were just given, or a data set that is there already.

import { errorText } from "../lib/api.js";
import { el } from "../lib/dom.js";
import { editable } from "../lib/edit.js";
import { bytes, count, number } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { freeName, isName, nameFrom } from "../lib/names.js";
import { imagesOf, Thumbnails } from "../photos/thumbnails.js";
import { problems } from "../datasets/upload_form.js";
import { ClassRows } from "./class_rows.js";
import { fileProblems, sendPhotos } from "./send.js";

/** Photos from the reader's disk, to sort and to name before they are sent. */
export class GivenPhotos {
  /**
   * @param {ViewContext} context
   * @param {string[]} taken names of data sets
   * @param {() => unknown} changed
   */
  constructor({ api, signal, draft }, taken, changed) {
    this.api = api;
    this.signal = signal;
    this.draft = draft;
    this.taken = taken;
    this.onChange = changed;
    draft.name = freeName(draft.name || "photos", taken);
    this.title = el("div", { class: "title" });
    this.wrong = el("div", { role: "alert" });
    this.rows = draft.archive ? null : new ClassRows(draft, signal, () => this.update());
    const shown = this.rows?.node ?? archive(draft.archive);
    this.node = el("div", { class: "stack tight" }, this.title, this.wrong, shown);
    this.update();
  }

  update() {
    const { draft } = this;
    const said = draft.archive ? "" : `${count(draft.count, "photo")} in ${count(draft.classes.length, "class")}`;
    const name = editable("h1", draft.name, `Rename the data set ${draft.name}`, (text) => this.#rename(text));
    this.title.replaceChildren(name, el("span", { class: "soft" }, said));
    this.onChange();
  }

  get photos() {
    return this.draft.count;
  }

  missing() {
    return this.draft.missing();
  }

  /** @param {string} text */
  #rename(text) {
    const name = isName(text) ? text : nameFrom(text) || "photos";
    this.draft.name = freeName(name, this.taken);
    if (this.draft.name !== text) {
      const why = name === text ? `There is a data set ${text} already.` : "Small letters, digits and dashes only.";
      this.wrong.replaceChildren(el("p", { class: "field-error" }, icon("warning"), `${why} It is ${this.draft.name} now.`));
    } else this.wrong.replaceChildren();
    this.update();
  }

  /** Send all; the name of the new data set comes back. */
  async dataset() {
    this.wrong.replaceChildren();
    const bar = el("i", {});
    const status = el("span", { role: "status" });
    this.title.append(el("span", { class: "sending soft" }, status, el("span", { class: "track" }, bar)));
    try {
      return await sendPhotos(this.api, this.draft, this.signal, (text, share) => {
        status.textContent = text;
        bar.style.setProperty("--share", String(share));
      });
    } catch (error) {
      const found = fileProblems(error);
      this.update();
      this.wrong.replaceChildren(el("p", { class: "error" }, errorText(error)), found.length ? problems(found) : "");
      throw error;
    }
  }
}

/** @param {File | null} file */
const archive = (file) =>
  el("section", { class: "card row" }, icon("folder"), `${file?.name} · ${bytes(file?.size)}`, el("span", { class: "soft" }, "Its classes are looked at when it is sent."));

/** A data set that is there: chosen from the list, some of its photos shown. */
export class ChosenDataset {
  /**
   * @param {ViewContext} context
   * @param {DatasetSummary[]} datasets
   * @param {string} chosen
   * @param {() => unknown} changed
   */
  constructor({ api, signal }, datasets, chosen, changed) {
    this.api = api;
    this.signal = signal;
    this.datasets = datasets;
    this.thumbnails = new Thumbnails(api, signal);
    this.strip = el("div", { class: "strip", "aria-hidden": "true" });
    const [name] = chosen.split("/");
    const known = datasets.some((one) => one.name === name) || !chosen ? [] : [option(chosen, `${chosen} · is not here`, true)];
    const options = datasets.map((one) => option(one.name === name ? chosen : one.name, counted(one), one.name === name));
    const own = { id: "dataset", name: "dataset", form: "recipe", "aria-describedby": "dataset-error" };
    this.select = el("select", { ...own, on: { change: () => this.update(changed) } }, known, options);
    this.node = el(
      "div",
      { class: "stack tight" },
      el("div", { class: "title" }, el("h1", {}, "Train a new model")),
      el(
        "section",
        { class: "card stack tight" },
        el("label", { for: "dataset" }, "Data set"),
        this.select,
        el("p", { class: "error", id: "dataset-error", role: "alert" }),
        this.strip,
      ),
    );
    this.update(changed);
  }

  get summary() {
    return this.datasets.find((one) => one.name === this.select.value.split("/")[0]);
  }

  get photos() {
    return this.summary?.images ?? 0;
  }

  missing() {
    return "";
  }

  async dataset() {
    return this.select.value;
  }

  /** @param {() => unknown} changed */
  async update(changed) {
    changed();
    this.strip.replaceChildren();
    if (this.summary?.kind !== "uploaded") return;
    const { value } = this.select;
    const found = await imagesOf(this.api, this.signal, value, { limit: "9" }).catch(() => null);
    if (this.select.value === value) this.strip.replaceChildren(...(found?.data ?? []).map((one) => photo(this.thumbnails.draw(one))));
  }
}

/** @param {HTMLImageElement} image */
function photo(image) {
  image.alt = "";
  return el("span", { class: "photo" }, image);
}

/**
 * @param {string} value
 * @param {string} text
 * @param {boolean} selected
 */
const option = (value, text, selected) => el("option", { value, selected }, text);

/** @param {DatasetSummary} dataset */
function counted({ name, images, available }) {
  if (!available) return `${name} · is fetched first`;
  return images ? `${name} · ${number(images)} images` : name;
}
