// The form that sends a data set: a file or a folder, a name, how far it is, and all that is wrong with it.

import { told } from "../lib/api.js";
import { el, table } from "../lib/dom.js";
import { bytes } from "../lib/format.js";
import { chosen, dropped, source } from "../lib/source.js";
import { Upload } from "../lib/upload.js";

export function sendForm(api, signal) {
  return new SendForm(api, signal).node;
}

class SendForm {
  constructor(api, signal) {
    Object.assign(this, { api, signal, given: null, upload: null });
    this.said = el("p", { role: "status", id: "given" }, "Nothing is chosen yet.");
    this.bar = el("progress", { "aria-label": "Progress", hidden: true });
    this.wrong = el("div", { role: "alert" });
    this.start = el("button", { class: "primary" }, "Send it");
    const submit = (event) => this.#submit(event);
    const replace = el("input", { type: "checkbox", name: "replace" });
    this.node = el(
      "form",
      { class: "drop sheet", novalidate: true, "aria-label": "Send a data set", on: { submit } },
      el("p", {}, "A folder of images for each class, in one folder, a zip or a tar. Drop it here, or:"),
      el("p", { class: "actions" }, this.#chooser("Choose a file", {}), this.#chooser("Choose a folder", FOLDER)),
      this.said,
      el("p", { class: "named" }, el("label", { for: "name" }, "Name"), el("input", NAME)),
      el("p", { class: "tick" }, el("label", {}, replace, " take the place of the one of that name")),
      el("p", { class: "actions" }, this.start),
      this.bar,
      this.wrong,
    );
    this.#listen();
  }

  #chooser(text, attributes) {
    const change = ({ target }) => (this.#take(chosen(target)), (target.value = ""));
    const input = el("input", { type: "file", class: "unseen", on: { change }, ...attributes });
    return el("label", { class: "button" }, input, text);
  }

  #listen() {
    const over = (is) => (event) => (event.preventDefault(), this.node.classList.toggle("over", is));
    this.node.addEventListener("dragover", over(true));
    this.node.addEventListener("dragleave", over(false));
    this.node.addEventListener("drop", async (event) => {
      over(false)(event);
      this.#take(await dropped(event.dataTransfer));
    });
  }

  #take(files) {
    const given = source(files);
    if (!given) return;
    Object.assign(this, { given, upload: new Upload(this.api, given.blob) });
    this.said.textContent = `${given.name} · ${bytes(given.blob.size)}`;
    const name = this.node.elements.name;
    name.value ||= nameFrom(given.name);
    this.wrong.replaceChildren();
  }

  async #submit(event) {
    event.preventDefault();
    this.wrong.replaceChildren();
    if (!this.given) return this.wrong.append(el("p", { class: "error" }, "Choose a file or a folder first."));
    this.start.disabled = true;
    this.bar.hidden = false;
    try {
      const { name } = await this.#send();
      if (!this.signal.aborted) location.hash = `#/datasets/${name}`;
    } catch (error) {
      if (!this.signal.aborted) this.#refused(error);
    } finally {
      this.start.disabled = false;
      this.bar.hidden = true;
    }
  }

  async #send() {
    const { size } = this.given.blob;
    await this.upload.send(this.signal, (come) => this.#progress(come, size));
    this.bar.removeAttribute("value"); // how long looking takes is not known
    this.said.textContent = "Every image is looked at …";
    const { name, replace } = this.node.elements;
    const query = new URLSearchParams({ name: name.value.trim(), replace: replace.checked, upload: this.upload.id });
    return (await this.api.fetch(`datasets?${query}`, { method: "POST", signal: this.signal })).json();
  }

  #progress(come, size) {
    Object.assign(this.bar, { max: size, value: come });
    this.said.textContent = `${this.given.name} · ${bytes(come)} of ${bytes(size)} sent`;
  }

  /** A name can be mended, and what was sent is kept for it; what is wrong with files cannot. */
  #refused(error) {
    this.said.textContent = `${this.given.name} · ${bytes(this.given.blob.size)}`;
    const files = (error.errors || []).filter((one) => one.severity);
    if (files.length && this.upload.path) this.upload.end().catch(() => {}); // it would go by itself after a day
    this.wrong.append(el("p", { class: "error" }, told(error)), files.length ? problems(files) : "");
  }
}

const FOLDER = { webkitdirectory: true };
const NAME = { id: "name", name: "name", autocomplete: "off", spellcheck: "false", "aria-describedby": "given" };

/** As close to the file's name as recipes allow. */
const nameFrom = (text) =>
  text
    .replace(/(\.(zip|tar|tgz|gz))+$|: \d+ files$/i, "")
    .toLowerCase()
    .replace(/[^a-z0-9_-]+/g, "-")
    .replace(/^[-_]+|-+$/g, "")
    .slice(0, 64);

/** [{pointer or file, detail or reason, severity}, ...] as a table. */
export function problems(found) {
  const rows = found.map((one) => [one.file ?? one.pointer, one.severity, one.reason ?? one.detail]);
  return table("What is wrong, file by file", ["File or class", "Severity", "What is wrong"], rows);
}
