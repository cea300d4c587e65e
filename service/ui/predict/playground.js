// Try it: an image drawn, dropped, pasted, chosen or photographed, and what the model says of it.

import { told } from "../lib/api.js";
import { button, el } from "../lib/dom.js";
import { answer } from "./prediction.js";
import { hasCamera, photograph } from "./camera.js";
import { Pad } from "./drawing_pad.js";

const CLASSES = 10; // most that are shown

export async function tryView({ main, api, signal, query }) {
  const { data } = await api.get("models?limit=100", signal);
  const ask = new Asker(api, signal);
  const pad = new Pad(async () => ask.ask(await pad.image()));
  const clear = () => (pad.clear(), ask.forget());
  ask.options = options(data, query.get("model"), () => ask.again());
  const zone = el(
    "section",
    { class: "drop", "aria-label": "Your image" },
    pad.node,
    el("p", { class: "actions" }, button("Clear", clear)),
    el("p", { class: "hint" }, "Draw a digit. Or drop or paste an image here, or:"),
    el(
      "p",
      { class: "actions" },
      chooser("Choose an image", {}, ask),
      photo(ask, signal),
    ),
  );
  dropped(zone, ask);
  document.addEventListener("paste", ({ clipboardData }) => take(clipboardData, ask), { signal });
  main.replaceChildren(el("h1", {}, "Try it"), ask.options, el("div", { class: "pair" }, zone, ask.node));
}

class Asker {
  constructor(api, signal) {
    this.node = el("section", { "aria-label": "Answer", "aria-live": "polite", class: "answer" });
    Object.assign(this, { api, leaving: signal, image: null, asking: new AbortController() });
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

  /** A newer image takes the place of one that is still being asked about. */
  async ask(image) {
    this.asking.abort();
    const { signal } = (this.asking = new AbortController());
    this.image = image;
    this.node.setAttribute("aria-busy", "true");
    try {
      const found = await (await this.api.fetch(this.#path(), this.#request(image, signal))).json();
      if (!signal.aborted) this.node.replaceChildren(...answer(found, image));
    } catch (error) {
      if (!signal.aborted) this.node.replaceChildren(el("p", { class: "error" }, told(error)));
    } finally {
      if (!signal.aborted) this.node.removeAttribute("aria-busy");
    }
  }

  #path() {
    const { model, explain } = this.options.elements;
    const query = new URLSearchParams({ include_input: "true", top_k: CLASSES, explain: explain.checked });
    if (model.value) query.set("model", model.value);
    return `predict?${query}`;
  }

  #request(image, signal) {
    const body = new FormData();
    body.append("file", image, image.name || "drawing.png");
    return { method: "POST", body, signal };
  }
}

function options(models, chosen, changed) {
  const whole = models.filter((one) => !one.files_deleted_at);
  const title = ({ version, network, dataset }) => `version ${version} · ${network} on ${dataset}`;
  const choices = whole.map((one) => el("option", { value: one.id, selected: one.id === chosen }, title(one)));
  return el(
    "form",
    { class: "actions", on: { change: changed, submit: (event) => event.preventDefault() } },
    el("label", { for: "model" }, "Model"),
    el("select", { id: "model", name: "model" }, el("option", { value: "" }, "the one that serves"), choices),
    el("label", {}, el("input", { type: "checkbox", name: "explain" }), " what it looks at (slower)"),
  );
}

/** A file input that looks like a button and is one for the keyboard too. */
function chooser(text, attributes, ask) {
  const chosen = ({ target }) => (target.files[0] && ask.ask(target.files[0]), (target.value = ""));
  const own = { type: "file", accept: "image/*", class: "unseen", on: { change: chosen } };
  const input = el("input", { ...own, ...attributes });
  return el("label", { class: "button" }, input, text);
}

/** By the camera's own program on a phone; in a dialog elsewhere; and from a file where there is no camera to be had. */
function photo(ask, signal) {
  const file = chooser("Take a photo", { capture: "environment" }, ask);
  if (matchMedia("(pointer: coarse)").matches || !hasCamera()) return file;
  const press = button("Take a photo", async () => {
    try {
      const taken = await photograph(signal);
      if (taken) ask.ask(taken);
    } catch {
      press.replaceWith(file);
      file.after(el("p", { class: "hint", role: "status" }, "No camera can be used here; choose a photo as a file."));
    }
  });
  return press;
}

function dropped(zone, ask) {
  const over = (is) => (event) => (event.preventDefault(), zone.classList.toggle("over", is));
  zone.addEventListener("dragover", over(true));
  zone.addEventListener("dragleave", over(false));
  zone.addEventListener("drop", (event) => (over(false)(event), take(event.dataTransfer, ask)));
}

function take(transfer, ask) {
  const image = [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));
  if (image) ask.ask(image);
}
