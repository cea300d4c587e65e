// The form that sends a data set: a file or a folder, a name, how far it is, and all that is wrong with it.

import { errorText, Problem } from "../lib/api.js";
import { el, onDrop, table } from "../lib/dom.js";
import { bytes } from "../lib/format.js";
import { nameFrom } from "../lib/names.js";
import { chosen, dropped, source } from "../photos/source.js";
import { Upload } from "../lib/upload.js";

/**
 * What a person gave, and how far it was sent.
 *
 * @typedef {{ name: string, size: number, upload: Upload }} Given
 */

/**
 * @param {ApiClient} api
 * @param {AbortSignal} signal
 */
export function sendForm(api, signal) {
  return new SendForm(api, signal).node;
}

class SendForm {
  /**
   * @param {ApiClient} api
   * @param {AbortSignal} signal
   */
  constructor(api, signal) {
    this.api = api;
    this.signal = signal;
    /** @type {Given | null} */
    this.given = null;
    this.said = el("p", { role: "status", id: "given" }, "Nothing is chosen yet.");
    this.bar = el("progress", { "aria-label": "Progress", hidden: true });
    this.wrong = el("div", { role: "alert" });
    this.start = el("button", { class: "primary" }, "Send it");
    this.name = el("input", NAME);
    this.replace = el("input", { type: "checkbox", name: "replace" });
    /** @param {SubmitEvent} event */
    const submit = (event) => this.#submit(event);
    this.node = el(
      "form",
      { class: "drop sheet", novalidate: true, "aria-label": "Send a data set", on: { submit } },
      el("p", {}, "A folder of images for each class, in one folder, a zip or a tar. Drop it here, or:"),
      el("p", { class: "actions" }, this.#chooser("Choose a file", {}), this.#chooser("Choose a folder", FOLDER)),
      this.said,
      el("p", { class: "named" }, el("label", { for: "name" }, "Name"), this.name),
      el("p", { class: "tick" }, el("label", {}, this.replace, " make it the next version of the one of that name")),
      el("p", { class: "actions" }, this.start),
      this.bar,
      this.wrong,
    );
    onDrop(this.node, async (transfer) => this.#take(await dropped(transfer)));
  }

  /**
   * @param {string} text
   * @param {Attributes} attributes
   */
  #chooser(text, attributes) {
    const input = el("input", { type: "file", class: "unseen", ...attributes });
    input.addEventListener("change", () => {
      this.#take(chosen(input));
      input.value = "";
    });
    return el("label", { class: "button" }, input, text);
  }

  /** @param {GivenFile[]} files */
  #take(files) {
    const given = source(files);
    if (!given) return;
    this.given = { name: given.name, size: given.blob.size, upload: new Upload(this.api, given.blob, given.name) };
    this.said.textContent = described(this.given);
    this.name.value ||= nameFrom(given.name);
    this.wrong.replaceChildren();
  }

  /** @param {SubmitEvent} event */
  async #submit(event) {
    event.preventDefault();
    this.wrong.replaceChildren();
    const given = this.given;
    if (!given) return this.wrong.append(el("p", { class: "error" }, "Choose a file or a folder first."));
    this.start.disabled = true;
    this.bar.hidden = false;
    try {
      const { name } = await this.#send(given);
      if (!this.signal.aborted) location.hash = `#/datasets/${name}`;
    } catch (error) {
      if (!this.signal.aborted) this.#refused(given, error);
    } finally {
      this.start.disabled = false;
      this.bar.hidden = true;
    }
  }

  /**
   * @param {Given} given
   * @returns {Promise<DatasetCard>}
   */
  async #send(given) {
    await given.upload.send(this.signal, (come) => this.#progress(given, come));
    this.bar.removeAttribute("value"); // how long looking takes is not known
    this.said.textContent = "Every image is looked at …";
    const named = { name: this.name.value.trim(), replace: String(this.replace.checked) };
    const query = new URLSearchParams({ ...named, upload: given.upload.id });
    return (await this.api.fetch(`datasets?${query}`, { method: "POST", signal: this.signal })).json();
  }

  /**
   * @param {Given} given
   * @param {number} come
   */
  #progress({ name, size }, come) {
    Object.assign(this.bar, { max: size, value: come });
    this.said.textContent = `${name} · ${bytes(come)} of ${bytes(size)} sent`;
  }

  /**
   * Show what is wrong. A name can be mended, and what was sent is kept for it; what is wrong with files cannot.
   *
   * @param {Given} given
   * @param {unknown} error
   */
  #refused(given, error) {
    this.said.textContent = described(given);
    const files = error instanceof Problem ? error.errors.filter((one) => one.severity) : [];
    if (files.length && given.upload.path) given.upload.end().catch(() => {}); // it would go by itself after a day
    const found = files.map(({ pointer, severity, detail }) => ({ file: pointer, severity, reason: detail }));
    this.wrong.append(el("p", { class: "error" }, errorText(error)), found.length ? problems(found) : "");
  }
}

const FOLDER = { webkitdirectory: true };
const NAME = { id: "name", type: "text", name: "name", autocomplete: "off", spellcheck: "false", "aria-describedby": "given" };

/** @param {Given} given */
const described = ({ name, size }) => `${name} · ${bytes(size)}`;

/** @param {FileProblem[]} found */
export function problems(found) {
  const rows = found.map(({ file, severity, reason }) => [file, severity, reason]);
  return table("What is wrong, file by file", ["File or class", "Severity", "What is wrong"], rows);
}
