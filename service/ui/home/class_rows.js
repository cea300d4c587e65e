// The given photos as rows of classes, and the loose ones above them: named, moved, left out by press.

import { button, el } from "../lib/dom.js";
import { chooser, PHOTOS } from "../photos/choosers.js";
import { editable } from "../lib/edit.js";
import { count } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { PhotoGrid } from "../photos/photo_grid.js";
import { cameraButton } from "../photos/camera.js";

const [SHOWN, OPEN_CLASSES] = [8, 12]; // photos of a row; classes that show theirs from the start

/** @typedef {import("./collection.js").Collection} Collection */
/** @typedef {import("./collection.js").Photo} Photo */
/** @typedef {import("./collection.js").PhotoClass} PhotoClass */

export class ClassRows {
  /**
   * @param {Collection} collection
   * @param {AbortSignal} signal
   * @param {() => unknown} changed
   */
  constructor(collection, signal, changed) {
    this.collection = collection;
    this.signal = signal;
    this.onChange = changed;
    /** @type {Set<PhotoClass>} whose photos are all shown */
    this.whole = new Set();
    /** @type {PhotoGrid<Photo>[]} */
    this.grids = [];
    this.node = el("div", { class: "stack tight" });
    this.picked = el("div", { class: "float", role: "status", hidden: true });
    this.node.addEventListener("keydown", (event) => this.#digit(event));
    this.draw();
  }

  draw() {
    const { classes, loose, leftOut } = this.collection;
    this.grids = [];
    const rows = classes.map((one) => this.#row(one));
    this.node.replaceChildren(
      ...(loose.length ? [this.#loose(loose)] : []),
      ...rows,
      this.#newClass(),
      ...(leftOut.length ? [note(leftOut)] : []),
      this.picked,
    );
    this.#showPicked();
  }

  /** @param {string | null} label */
  #move(label) {
    this.collection.move(this.#chosen(), label);
    this.#changed();
  }

  #changed() {
    this.draw();
    this.onChange();
  }

  #chosen() {
    return new Set(this.grids.flatMap((grid) => [...grid.chosen]));
  }

  /** @param {Photo[]} photos */
  #loose(photos) {
    const grid = this.#grid("Loose photos", photos);
    return el(
      "section",
      { class: "card class-row", "aria-labelledby": "loose" },
      el("div", { class: "class-head" }, el("h2", { id: "loose" }, "Which class are these?"), soft(count(photos.length, "loose photo"))),
      grid.node,
      el("p", { class: "hint lead" }, "Choose photos, then press their class below. Ctrl A chooses all."),
    );
  }

  /** @param {PhotoClass} one */
  #row(one) {
    const { label, photos } = one;
    /** @param {GivenFile[]} files */
    const add = (files) => {
      for (const [, file] of files) photos.push({ file, part: "", url: "" });
      this.#changed();
    };
    const rename = (/** @type {string} */ name) => {
      this.collection.rename(one, name);
      this.#changed();
    };
    const remove = () => {
      this.collection.remove(one);
      this.#changed();
    };
    return el(
      "section",
      { class: "card class-row", "aria-label": `Class ${label}` },
      el(
        "div",
        { class: "class-head" },
        editable("h3", label, `Rename the class ${label}`, rename),
        soft(count(photos.length, "photo")),
        el("span", { class: "row tight push" }, [
          chooser(el("span", { class: "not-phone" }, "Add photos"), { ...PHOTOS, "aria-label": `Add photos of ${label}` }, add, { image: "plus", look: "plain" }),
          cameraButton(`Photograph for ${label}`, this.signal, (file) => add([[file.name, file]])),
          el("button", { type: "button", class: "icon plain", "aria-label": `Remove the class ${label}`, on: { click: remove } }, icon("bin")),
        ]),
      ),
      this.#photos(one),
    );
  }

  /** @param {PhotoClass} one */
  #photos(one) {
    const { label, photos } = one;
    const isOpen = this.whole.has(one) || this.collection.classes.length <= OPEN_CLASSES;
    if (!photos.length || !isOpen) return photos.length ? this.#more(one, photos.length) : "";
    const shown = this.whole.has(one) || photos.length <= SHOWN + 1 ? photos : photos.slice(0, SHOWN);
    const more = shown.length < photos.length ? this.#more(one, photos.length - shown.length) : null;
    return this.#grid(`Photos of ${label}`, shown, more).node;
  }

  /**
   * @param {PhotoClass} one
   * @param {number} hidden
   */
  #more(one, hidden) {
    const open = () => {
      this.whole.add(one);
      this.draw();
    };
    return button(`+${hidden}`, open, { class: "more", "aria-label": `${hidden} more photos of ${one.label}` });
  }

  /**
   * @param {string} name
   * @param {Photo[]} photos
   * @param {HTMLElement | null} more
   */
  #grid(name, photos, more = null) {
    const grid = new PhotoGrid(name, drawn, () => this.#showPicked());
    grid.show(photos, more);
    this.grids.push(grid);
    return grid;
  }

  #newClass() {
    const field = el("input", { type: "text", "aria-label": "Name of a new class", placeholder: "New class", autocomplete: "off" });
    /** @param {Event} event */
    const submit = (event) => {
      event.preventDefault();
      const label = field.value.trim();
      if (!label) return field.focus();
      if (this.#chosen().size) return this.#move(label);
      this.collection.classOf(label);
      this.#changed();
    };
    const own = { class: "card new-class", "aria-label": "Add a class", on: { submit } };
    return el("form", own, icon("plus"), field, el("button", {}, "Add a class"), el("span", { class: "soft" }, "such as “neither”, with photos of other things"));
  }

  /** Show what can be done with the chosen photos. */
  #showPicked() {
    const { size } = this.#chosen();
    this.picked.hidden = !size;
    if (!size) return;
    const labels = this.collection.classes.map((one) => one.label);
    const chips = labels.map((label, n) => button(label, () => this.#move(label), { "aria-label": `Move to ${label}`, title: n < 9 ? `Key ${n + 1}` : null }));
    this.picked.replaceChildren(
      el("b", { class: "nowrap" }, `${size} chosen`),
      el("span", { class: "chips" }, chips),
      button("Leave out", () => this.#move(null), { class: "destroy" }),
      button("Clear", () => this.grids.map((grid) => grid.clear()), { class: "plain push" }),
    );
  }

  /** @param {KeyboardEvent} event */
  #digit({ key, target }) {
    const one = this.collection.classes[Number(key) - 1];
    if (one && target instanceof Element && target.matches(".photo") && this.#chosen().size) this.#move(one.label);
  }
}

/** @param {Photo} photo */
function drawn(photo) {
  photo.url ||= URL.createObjectURL(photo.file);
  const image = el("img", { src: photo.url, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.classList.add("blank"));
  return { image, alt: photo.file.name };
}

/** @param {string} text */
const soft = (text) => el("span", { class: "soft nowrap" }, text);

/** @param {string[]} names */
function note(names) {
  const more = names.length > 3 ? ` and ${names.length - 3} more` : "";
  return el("p", { class: "soft small row tight" }, icon("info"), `Left out: ${names.slice(0, 3).join(", ")}${more}: no photo.`);
}
