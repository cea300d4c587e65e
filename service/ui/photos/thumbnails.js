// Small pictures of a data set's photos. A picture's address cannot carry a key: with one they are fetched by script.

import { Problem } from "../lib/api.js";
import { el } from "../lib/dom.js";

export class Thumbnails {
  /**
   * @param {ApiClient} api
   * @param {AbortSignal} signal
   */
  constructor(api, signal) {
    this.api = api;
    this.signal = signal;
    this.watch = new IntersectionObserver((seen) => {
      for (const { isIntersecting, target } of seen) if (isIntersecting) this.#load(/** @type {HTMLImageElement} */ (target));
    });
    signal.addEventListener("abort", () => this.watch.disconnect(), { once: true });
  }

  /**
   * Make the picture of a photo; it is fetched when it is seen.
   *
   * @param {Pick<ImageView, "thumbnail">} image
   */
  draw({ thumbnail }) {
    const path = thumbnail.slice(1); // behind a proxy's prefix too
    if (!this.api.keys.current()) return el("img", { src: path, loading: "lazy", decoding: "async", width: 112, height: 112 });
    const image = el("img", { "data-path": path, width: 112, height: 112 });
    this.watch.observe(image);
    return image;
  }

  /** @param {HTMLImageElement} image */
  async #load(image) {
    this.watch.unobserve(image);
    try {
      const data = await (await this.api.fetch(image.dataset.path ?? "", { signal: this.signal })).blob();
      image.src = URL.createObjectURL(data);
      image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
    } catch {
      image.classList.add("blank");
    }
  }
}

/**
 * List photos of a data set that was uploaded.
 *
 * @param {ApiClient} api
 * @param {AbortSignal} signal
 * @param {string} name
 * @param {Record<string, string>} query
 * @returns {Promise<ImagePage>}
 */
export const imagesOf = (api, signal, name, query) => api.get(`datasets/${name}/images?${new URLSearchParams(query)}`, signal);

/**
 * Name the data sets whose photos can be listed. A key with the scope predict may see none.
 *
 * @param {ApiClient} api
 * @param {AbortSignal} signal
 */
export async function listable(api, signal) {
  /** @type {{ data: DatasetSummary[] }} */
  const { data } = await api.get("datasets", signal).catch(noneToSee);
  return new Set(data.filter((one) => one.kind === "uploaded").map((one) => one.name));
}

/** @param {unknown} error */
function noneToSee(error) {
  if (error instanceof Problem && error.status === 403) return { data: [] };
  throw error;
}
