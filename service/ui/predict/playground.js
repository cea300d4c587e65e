// Try it: an image drawn, dropped, pasted, chosen or photographed, and what the model says of it.

import { errorText, Problem } from "../lib/api.js";
import { button, el, onDrop } from "../lib/dom.js";
import { title } from "../lib/format.js";
import { answer } from "./prediction.js";
import { hasCamera, photograph } from "./camera.js";
import { Pad } from "./drawing_pad.js";

const CLASSES = "10"; // most that are shown

/** @param {ViewContext} context */
export async function tryView({ main, api, signal, query }) {
  /** @type {ModelPage} */
  const { data } = await api.get("models?limit=100", signal).catch(noneToSee);
  const options = new Options(data, query.get("model"), () => asker.again());
  const asker = new Asker(api, signal, options);
  const pad = new Pad(async () => asker.ask(await pad.image()));
  const clear = () => {
    pad.clear();
    asker.forget();
  };
  const zone = el(
    "section",
    { class: "drop", "aria-label": "Your image" },
    pad.node,
    el("p", { class: "actions" }, button("Clear", clear)),
    el("p", { class: "hint" }, "Draw a digit. Or drop or paste an image here, or:"),
    el(
      "p",
      { class: "actions" },
      chooser("Choose an image", {}, asker),
      photo(asker, signal),
    ),
  );
  onDrop(zone, (transfer) => take(transfer, asker));
  document.addEventListener("paste", ({ clipboardData }) => take(clipboardData, asker), { signal });
  main.replaceChildren(el("h1", {}, "Try it"), options.node, el("div", { class: "pair" }, zone, asker.node));
}

/**
 * A key with the scope predict may ask the model that serves, and not list the others.
 *
 * @param {unknown} error
 */
function noneToSee(error) {
  if (error instanceof Problem && error.status === 403) return { data: [] };
  throw error;
}

/** The form beside the image: which model answers, and whether it explains. */
class Options {
  /**
   * @param {ModelView[]} models
   * @param {string | null} chosen the id of the model that is asked at first
   * @param {() => void} changed
   */
  constructor(models, chosen, changed) {
    const whole = models.filter((one) => !one.files_deleted_at);
    /** @param {ModelView} model */
    const described = (model) => `${title(model)} · ${model.network} on ${model.dataset}`;
    const choices = whole.map((one) => el("option", { value: one.id, selected: one.id === chosen }, described(one)));
    const serving = el("option", { value: "" }, "the latest model");
    this.model = el("select", { id: "model", name: "model" }, serving, choices);
    this.explain = el("input", { type: "checkbox", name: "explain" });
    this.node = el(
      "form",
      { class: "actions", on: { change: changed, submit: (event) => event.preventDefault() } },
      el("label", { for: "model" }, "Model"),
      this.model,
      el("label", {}, this.explain, " what it looks at (slower)"),
    );
  }

  query() {
    const query = new URLSearchParams({ include_input: "true", top_k: CLASSES, explain: String(this.explain.checked) });
    if (this.model.value) query.set("model", this.model.value);
    return query;
  }
}

class Asker {
  /**
   * @param {ApiClient} api
   * @param {AbortSignal} signal
   * @param {Options} options
   */
  constructor(api, signal, options) {
    this.node = el("section", { "aria-label": "Answer", "aria-live": "polite", class: "answer" });
    this.api = api;
    this.options = options;
    /** @type {Blob | null} */
    this.image = null;
    this.asking = new AbortController();
    signal.addEventListener("abort", () => this.asking.abort());
    this.forget();
  }

  forget() {
    this.asking.abort();
    this.image = null;
    this.node.replaceChildren(el("p", { class: "hint" }, "The answer comes here."));
  }

  again() {
    if (this.image) this.ask(this.image);
  }

  /**
   * Ask about an image; it takes the place of one that is still being asked about.
   *
   * @param {Blob} image
   */
  async ask(image) {
    this.asking.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    this.image = image;
    this.node.setAttribute("aria-busy", "true");
    try {
      const found = await this.#predict(image, signal);
      if (!signal.aborted) this.node.replaceChildren(...answer(found, image));
    } catch (error) {
      if (!signal.aborted) this.node.replaceChildren(el("p", { class: "error" }, errorText(error)));
    } finally {
      if (!signal.aborted) this.node.removeAttribute("aria-busy");
    }
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
}

/**
 * Make a file input that looks like a button and is one for the keyboard too.
 *
 * @param {string} text
 * @param {Attributes} attributes
 * @param {Asker} asker
 */
function chooser(text, attributes, asker) {
  const input = el("input", { type: "file", accept: "image/*", class: "unseen", ...attributes });
  input.addEventListener("change", () => {
    const [file] = input.files ?? [];
    if (file) asker.ask(file);
    input.value = "";
  });
  return el("label", { class: "button" }, input, text);
}

/**
 * Take a photo by the camera's own program on a phone, in a dialog elsewhere, and from a file without a camera.
 *
 * @param {Asker} asker
 * @param {AbortSignal} signal
 */
function photo(asker, signal) {
  const file = chooser("Take a photo", { capture: "environment" }, asker);
  if (matchMedia("(pointer: coarse)").matches || !hasCamera()) return file;
  const press = button("Take a photo", async () => {
    try {
      const taken = await photograph(signal);
      if (taken) asker.ask(taken);
    } catch {
      press.replaceWith(file);
      file.after(el("p", { class: "hint", role: "status" }, "No camera can be used here; choose a photo as a file."));
    }
  });
  return press;
}

/**
 * @param {DataTransfer | null} transfer
 * @param {Asker} asker
 */
function take(transfer, asker) {
  const image = [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));
  if (image) asker.ask(image);
}
