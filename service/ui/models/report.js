// The way to a model's report, a page of its own.

import { button, el } from "../lib/dom.js";

/**
 * Make a link; or, where a key is needed, which a link does not send, a button that saves the page.
 *
 * @param {ApiClient} api
 * @param {AbortSignal} signal
 * @param {Fail} fail
 * @param {ModelView} model
 */
export function report(api, signal, fail, { links: { report_page: page }, id }) {
  if (!page) return "";
  const path = page.slice(1); // behind a proxy's prefix too
  if (!api.keys.current()) return el("a", { class: "button", href: path, target: "_blank" }, "Report");
  return button("Save the report", () => save(api, signal, path, `${id}.html`).catch(fail));
}

/**
 * @param {ApiClient} api
 * @param {AbortSignal} signal
 * @param {string} path
 * @param {string} name
 */
async function save(api, signal, path, name) {
  const address = URL.createObjectURL(await (await api.fetch(path, { signal })).blob());
  el("a", { href: address, download: name }).click();
  URL.revokeObjectURL(address);
}
