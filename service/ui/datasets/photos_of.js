// The photos of a data set by class, and the bar of what can be done with the chosen ones.

import { button, el } from "../lib/dom.js";
import { icon } from "../lib/icons.js";
import { Thumbnails } from "../photos/thumbnails.js";
import { ClassStrip } from "./class_strip.js";

const SEARCHED = 8; // classes, from which they can be searched

export class PhotosOf {
  /**
   * @param {ViewContext} context
   * @param {DatasetCard} card
   * @param {import("./changes.js").Changes | null} changes
   */
  constructor(context, card, changes) {
    const { api, signal, fail } = context;
    this.fail = fail;
    this.changes = changes;
    this.labels = Object.keys(card.classes);
    const thumbnails = new Thumbnails(api, signal);
    const name = `${card.name}/${card.version}`;
    this.strips = Object.entries(card.classes).map(([label, of]) => {
      const images = Object.values(of).reduce((sum, one) => sum + one, 0);
      return new ClassStrip({ api, signal, fail }, { name, label, images, thumbnails }, changes, () => this.#showChosen());
    });
    this.bar = el("div", { class: "float", role: "status", hidden: true });
    this.node = el(
      "section",
      { "aria-labelledby": "classes" },
      el("div", { class: "head" }, el("h2", { id: "classes" }, "Classes"), el("span", { class: "soft small" }, kept(card)), this.#search()),
      el("div", { class: "stack tight" }, this.strips.map((one) => one.node), changes && this.#newClass(changes), this.bar),
    );
  }

  #search() {
    if (this.labels.length < SEARCHED) return null;
    const field = el("input", { type: "search", "aria-label": "Find a class", placeholder: "Find a class" });
    field.addEventListener("input", () => {
      const wanted = field.value.trim().toLowerCase();
      for (const { node, label } of this.strips) node.hidden = !label.toLowerCase().includes(wanted);
    });
    return el("div", { class: "search push" }, icon("search"), field);
  }

  /** @param {import("./changes.js").Changes} changes */
  #newClass(changes) {
    const name = el("input", { type: "text", "aria-label": "Name of a new class", placeholder: "New class", autocomplete: "off" });
    const files = el("input", { type: "file", multiple: true, accept: "image/*,.heic,.heif", class: "unseen", "aria-label": "Photos of the new class" });
    files.addEventListener("change", () => {
      const label = name.value.trim();
      if (!label) return name.focus();
      changes.add(label, [...(files.files ?? [])]).catch(this.fail);
    });
    /** @param {Event} event */
    const submit = (event) => {
      event.preventDefault();
      const chosen = this.#chosen();
      if (!name.value.trim()) name.focus();
      else if (chosen.length) this.#act(() => changes.move(chosen, name.value.trim()));
      else files.click();
    };
    return el("form", { class: "card new-class", "aria-label": "Add a class", on: { submit } }, icon("plus"), name, files, el("button", {}, "Add a class"));
  }

  #chosen() {
    return this.strips.flatMap(({ grid }) => [...grid.chosen]);
  }

  #showChosen() {
    const chosen = this.#chosen();
    const { changes } = this;
    this.bar.hidden = !chosen.length || !changes;
    if (!chosen.length || !changes) return;
    const to = el("select", { "aria-label": "Move to" }, el("option", { value: "" }, "Move to …"), this.labels.map((label) => el("option", {}, label)));
    to.addEventListener("change", () => to.value && this.#act(() => changes.move(chosen, to.value)));
    this.bar.replaceChildren(
      el("b", { class: "nowrap" }, `${chosen.length} chosen`),
      to,
      button("Delete", () => this.#act(() => changes.remove(chosen)), { class: "destroy" }),
      button("Clear", () => this.strips.map(({ grid }) => grid.clear()), { class: "plain push" }),
    );
  }

  /** @param {() => Promise<unknown>} change */
  async #act(change) {
    try {
      await change();
    } catch (error) {
      this.fail(error);
    }
  }
}

/** @param {DatasetCard} card */
function kept({ classes }) {
  const tests = Object.values(classes).reduce((sum, of) => sum + (of.test ?? 0), 0);
  return tests ? `${tests} photos are kept for testing` : "A job keeps a fifth back for testing.";
}
