// File inputs that look like buttons and are ones for the keyboard too.

import { el } from "../lib/dom.js";
import { icon } from "../lib/icons.js";
import { chosen } from "./source.js";

export const FOLDER = { webkitdirectory: true };
export const PHOTOS = { multiple: true, accept: "image/*,.heic,.heif,.zip,.tar,.tgz,.gz" };

/**
 * @param {Child} text
 * @param {Attributes} attributes of the input
 * @param {(files: GivenFile[]) => unknown} take
 * @param {{ image?: string, look?: string }} look
 */
export function chooser(text, attributes, take, { image, look = "" } = {}) {
  const input = el("input", { type: "file", class: "unseen", ...attributes });
  input.addEventListener("change", () => {
    const files = chosen(input);
    input.value = "";
    if (files.length) take(files);
  });
  return el("label", { class: `button ${look}` }, input, image && icon(image), text);
}
