// Sends a file in pieces, and goes on where it broke off: tus 1.0.0, https://tus.io/protocols/resumable-upload

import { passes, Problem } from "./api.js";
import { pause } from "./time.js";

const PIECE_BYTES = 8 * 2 ** 20;
const MAX_PAUSE_MS = 10_000;
const VERSION = { "Tus-Resumable": "1.0.0" };

export class Upload {
  /**
   * @param {ApiClient} api
   * @param {Blob} blob
   * @param {string} name of the file, for the list of uploads
   */
  constructor(api, blob, name) {
    this.api = api;
    this.blob = blob;
    this.name = name;
    this.path = ""; // where the service keeps it; empty before it has begun
  }

  get id() {
    return this.path.split("/").pop() ?? "";
  }

  /**
   * Resolve when all has come. A second call sends what is missing.
   *
   * @param {AbortSignal} signal
   * @param {(bytes: number) => void} onProgress is given the bytes that have come so far
   */
  async send(signal, onProgress) {
    this.path ||= await this.#begin(signal);
    let offset = await this.#offset(signal);
    for (let tries = 0; offset < this.blob.size; ) {
      onProgress(offset);
      try {
        if (tries) offset = await this.#offset(signal);
        [offset, tries] = [await this.#piece(offset, signal), 0];
      } catch (error) {
        if (signal.aborted || !(passes(error) || conflicts(error))) throw error;
        await pause(Math.min(MAX_PAUSE_MS, 500 * 2 ** tries++), signal);
      }
    }
    onProgress(offset);
  }

  async end() {
    await this.api.fetch(this.path, { method: "DELETE", headers: VERSION });
    this.path = "";
  }

  /** @param {AbortSignal} signal */
  async #begin(signal) {
    const name = btoa(String.fromCharCode(...new TextEncoder().encode(this.name)));
    const headers = { ...VERSION, "Upload-Length": String(this.blob.size), "Upload-Metadata": `filename ${name}` };
    const answer = await this.api.fetch("uploads", { method: "POST", headers, signal });
    return (answer.headers.get("Location") ?? "").slice(1); // behind a proxy's prefix too
  }

  /** @param {AbortSignal} signal */
  async #offset(signal) {
    return offsetIn(await this.api.fetch(this.path, { method: "HEAD", headers: VERSION, signal }));
  }

  /**
   * @param {number} offset
   * @param {AbortSignal} signal
   */
  async #piece(offset, signal) {
    const headers = { ...VERSION, "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" };
    const body = this.blob.slice(offset, offset + PIECE_BYTES);
    return offsetIn(await this.api.fetch(this.path, { method: "PATCH", headers, body, signal }));
  }
}

/** @param {unknown} error */
const conflicts = (error) => error instanceof Problem && error.status === 409;

/** @param {Response} answer */
const offsetIn = (answer) => Number(answer.headers.get("Upload-Offset"));
