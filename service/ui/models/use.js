// How to call a model from elsewhere, and its files to take along.

import { button, el } from "../lib/dom.js";
import { bytes } from "../lib/format.js";
import { icon } from "../lib/icons.js";

/** @type {[format: string, file: string, ending: string, about: string][]} */
const FILES = [
  ["onnx", "model.onnx", "onnx", "ONNX: runs nearly everywhere"],
  ["safetensors", "weights.safetensors", "safetensors", "safetensors: the weights"],
];

/**
 * @param {ApiClient} api
 * @param {Fail} fail
 * @param {ModelView} model
 */
export function useIt(api, fail, model) {
  const base = new URL(".", location.href).href.replace(/\/$/, "");
  return el(
    "div",
    { class: "stack" },
    Object.entries(samples(base, model.name)).map(([title, text]) => sample(title, text)),
    el("p", { class: "soft small" }, `${model.name} follows what answers; ${model.name}/${model.version} stays with this version. Where keys are set, put yours into TUNESERVE_API_KEY.`),
    el("ul", { class: "files" }, FILES.map((one) => file(api, fail, model, one))),
  );
}

/**
 * @param {string} base
 * @param {string} name
 * @returns {Record<string, string>}
 */
const samples = (base, name) => ({
  curl: `curl -F file=@photo.jpg -H "Authorization: Bearer $TUNESERVE_API_KEY" "${base}/predict?model=${name}"`,
  Python: `import tuneserve

model = tuneserve.Client("${base}").model("${name}")
print(model.predict("photo.jpg")[0].label)`,
  JavaScript: `const body = new FormData();
body.append("file", photo); // a File or a Blob
const answer = await fetch("${base}/predict?model=${name}", { method: "POST", body });
console.log((await answer.json()).predictions[0].label);`,
});

/**
 * @param {string} title
 * @param {string} text
 */
function sample(title, text) {
  const copy = button("Copy", () => navigator.clipboard?.writeText(text).then(() => copy.replaceChildren("Copied")));
  copy.setAttribute("aria-label", `Copy the ${title} sample`);
  return el("div", {}, el("h3", {}, title), el("div", { class: "code" }, copy, el("pre", { tabindex: 0, "aria-label": `${title} sample` }, text)));
}

/**
 * Make the way to a file. A link cannot send a key: with one, the file is fetched by script.
 *
 * @param {ApiClient} api
 * @param {Fail} fail
 * @param {ModelView} model
 * @param {[format: string, file: string, ending: string, about: string]} one
 */
function file(api, fail, { id, files }, [format, inside, ending, about]) {
  if (!files[inside]) return null;
  const path = `models/${id}/content?format=${format}`;
  const press = () => save(api, path, `${id}.${ending}`).catch(fail);
  const size = el("span", { class: "soft" }, bytes(files[inside].size_bytes));
  const way = api.keys.current() ? button(about, press, { class: "link" }) : el("a", { href: path, download: true }, about);
  return el("li", {}, icon("fetch"), way, size);
}

/**
 * @param {ApiClient} api
 * @param {string} path
 * @param {string} name
 */
async function save(api, path, name) {
  const address = URL.createObjectURL(await (await api.fetch(path)).blob());
  el("a", { href: address, download: name }).click();
  URL.revokeObjectURL(address);
}
