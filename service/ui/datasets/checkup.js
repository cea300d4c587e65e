// What a worker found in a data set's newest version: photos that are there twice, in the wrong class, or like no other.

import { Problem } from "../lib/api.js";
import { button, el } from "../lib/dom.js";
import { count } from "../lib/format.js";
import { Thumbnails } from "../photos/thumbnails.js";

const [SHOWN, AGAIN_MS] = [12, 3000]; // photos of a finding; until the next look at a check-up that has not ended

export class Checkup {
  /**
   * @param {ViewContext} context
   * @param {string} name of the data set
   * @param {import("./changes.js").Changes} changes
   */
  constructor({ api, signal, fail }, name, changes) {
    this.api = api;
    this.signal = signal;
    this.fail = fail;
    this.name = name;
    this.changes = changes;
    this.thumbnails = new Thumbnails(api, signal);
    this.node = el("section", { class: "stack tight", "aria-label": "Check-up" });
    this.#look();
  }

  /** Show how the check-up stands, until it has ended. */
  async #look() {
    try {
      /** @type {CheckupView} */
      const checkup = await this.api.get(`datasets/${this.name}/checkup`, this.signal);
      this.node.replaceChildren(...(checkup.findings ? this.#found(checkup.findings) : [note(standing(checkup))]));
      if (checkup.state === "waiting" || checkup.state === "running") this.#lookAgain();
    } catch (error) {
      if (!(error instanceof Problem && error.status === 404)) this.fail(error); // 404: there is none
    }
  }

  #lookAgain() {
    const timer = setTimeout(() => this.#look(), AGAIN_MS);
    this.signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
  }

  /** @param {Findings} findings */
  #found(findings) {
    const parts = [
      ...perClass(findings.wrong_labels).map(([label, images]) => this.#wrong(label, images)),
      findings.near_duplicates.length && this.#twice(findings),
      findings.unusual_images.length && this.#unusual(findings.unusual_images.map((one) => one.image), findings.unusual_image_count),
      findings.rare_classes.length && note(`Few photos: ${findings.rare_classes.map((one) => `${one.class} (${one.images})`).join(", ")}.`),
    ].filter((part) => part instanceof Node);
    if (!parts.length) return [note("Checked: no photo is here twice, and none looks like another class.")];
    return [el("h2", {}, "Worth a look"), ...parts];
  }

  /**
   * @param {string} label
   * @param {SeenImage[]} images
   */
  #wrong(label, images) {
    /** @param {SeenImage[]} some */
    const move = (some) => this.changes.move(some.map(withId), label);
    return this.#card(`Perhaps ${label}?`, `${count(images.length, "photo")} of another class`, images, {
      all: `Move ${images.length > 1 ? `all ${images.length}` : "it"} to ${label}`,
      one: `Move to ${label}`,
      act: move,
      caption: (image) => `Now in ${image.class}`,
    });
  }

  /** @param {Findings} findings */
  #twice({ near_duplicates: pairs, near_duplicate_count: all, leak_count: leaks }) {
    const like = new Map(pairs.map((pair) => [pair.image, pair]));
    const copies = pairs.map((pair) => pair.image);
    const leaked = leaks ? `; ${leaks} between training and testing, which flatters the test` : "";
    return this.#card("The same photo twice", `${count(all, "pair")}${leaked}`, copies, {
      all: copies.length > 1 ? `Delete all ${copies.length} copies` : "Delete the copy",
      one: "Delete",
      act: (some) => this.changes.remove(some.map(withId)),
      caption: (image) => `Like ${like.get(image)?.like.file} of ${like.get(image)?.like.class}`,
    });
  }

  /**
   * @param {SeenImage[]} images
   * @param {number} all
   */
  #unusual(images, all) {
    return this.#card("Like no other of its class", count(all, "photo"), images, {
      one: "Delete",
      act: (some) => this.changes.remove(some.map(withId)),
      caption: (image) => `In ${image.class}`,
    });
  }

  /**
   * @param {string} title
   * @param {string} inside
   * @param {SeenImage[]} images
   * @param {{ all?: string, one: string, act: (images: SeenImage[]) => Promise<unknown>, caption: (image: SeenImage) => string }} offer
   */
  #card(title, inside, images, { all, one, act, caption }) {
    /** @param {SeenImage[]} some */
    const done = (some) => act(some).catch(this.fail);
    const tiles = images.slice(0, SHOWN).map((image) => {
      const picture = this.thumbnails.draw({ thumbnail: `/datasets/${this.name}/images/${image.id}/thumbnail.png` });
      picture.alt = `${image.file}, ${image.class}`;
      return el("li", {}, picture, el("p", {}, caption(image)), button(one, () => done([image]), { "aria-label": `${one}: ${image.file}` }));
    });
    const more = images.length - tiles.length;
    return el(
      "section",
      { class: "card stack tight", "aria-label": title },
      el("div", { class: "head" }, el("h3", {}, title), el("span", { class: "soft small" }, inside), all && button(all, () => done(images), { class: "push" })),
      el("ul", { class: "mistakes" }, tiles),
      more > 0 && note(`And ${more} more.`),
    );
  }
}

/**
 * Group images by the class that the others suggest.
 *
 * @param {Findings["wrong_labels"]} wrong
 * @returns {[string, SeenImage[]][]}
 */
function perClass(wrong) {
  /** @type {Map<string, SeenImage[]>} */
  const classes = new Map();
  for (const { image, suggested } of wrong) classes.set(suggested, [...(classes.get(suggested) ?? []), image]);
  return [...classes];
}

/** @param {SeenImage} image */
const withId = ({ id }) => ({ id: id ?? 0 }); // photos in files of their own have one

/** @param {string} text */
const note = (text) => el("p", { class: "soft small" }, text);

/** @param {CheckupView} checkup */
function standing({ state, images, error }) {
  if (state === "failed") return `These photos could not be checked: ${error}`;
  return state === "waiting"
    ? "These photos will be checked for doubles and wrong classes once a worker has time."
    : `Checking these photos for doubles and wrong classes: ${count(images, "photo")} so far.`;
}
