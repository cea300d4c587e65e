// Sends the given photos and starts the job on them.

import { Problem } from "../lib/api.js";
import { bytes } from "../lib/format.js";
import { Upload } from "../lib/upload.js";

/**
 * Send the photos and make a data set of them; the name of its newest version comes back.
 *
 * @param {ApiClient} api
 * @param {import("./collection.js").Collection} collection
 * @param {AbortSignal} signal
 * @param {(text: string, share: number) => unknown} report how far it is
 */
export async function sendPhotos(api, collection, signal, report) {
  const packed = collection.packed();
  if (!packed) throw new Error("There are no photos to send.");
  const { size } = packed.blob;
  const upload = new Upload(api, packed.blob, packed.name);
  await upload.send(signal, (come) => report(`sending, ${bytes(come)} of ${bytes(size)}`, come / size));
  report("every photo is looked at …", 1);
  const query = new URLSearchParams({ name: collection.name, upload: upload.id });
  try {
    /** @type {DatasetCard} */
    const card = await (await api.fetch(`datasets?${query}`, { method: "POST", signal })).json();
    return card.name;
  } catch (error) {
    upload.end().catch(() => {}); // it would go by itself after a day
    throw error;
  }
}

/**
 * Name a job as its place in the row of its data set's jobs: insects · quick · #3.
 *
 * @param {ApiClient} api
 * @param {string} dataset
 * @param {unknown} kind a preset, or a network
 */
export async function jobName(api, dataset, kind) {
  /** @type {JobPage} */
  const { data } = await api.get(`jobs?limit=100&dataset=${encodeURIComponent(dataset)}`);
  const last = data.map((job) => Number(job.name?.match(/#(\d+)$/)?.[1] ?? 0));
  return [dataset, kind, `#${Math.max(data.length, ...last) + 1}`].filter(Boolean).join(" · ").slice(-100);
}

/**
 * Say what is wrong with files one by one, if that is what the service refused.
 *
 * @param {unknown} error
 * @returns {FileProblem[]}
 */
export function fileProblems(error) {
  const found = error instanceof Problem ? error.errors.filter((one) => one.severity) : [];
  return found.map(({ pointer, severity, detail }) => ({ file: pointer, severity, reason: detail }));
}
