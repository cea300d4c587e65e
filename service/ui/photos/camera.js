// A dialog that shows what the camera sees, and takes a picture of it.

import { button, el, encoded, pen } from "../lib/dom.js";
import { icon } from "../lib/icons.js";

/** Say whether there may be a camera; not so on a page that came unencrypted from another machine. */
export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

/**
 * Take a photo; null: none was taken. Throws what the browser says of a camera that cannot be had.
 *
 * @param {AbortSignal} signal
 */
export async function photograph(signal) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  try {
    return await shown(stream, signal);
  } finally {
    for (const track of stream.getTracks()) track.stop();
  }
}

/**
 * @param {MediaStream} stream
 * @param {AbortSignal} signal
 * @returns {Promise<File | null>}
 */
function shown(stream, signal) {
  const video = el("video", { autoplay: true, playsinline: true, muted: true, "aria-label": "What the camera sees" });
  video.srcObject = stream;
  const title = el("h2", { id: "camera-title" }, "Take a photo");
  const dialog = el("dialog", { class: "camera", "aria-labelledby": "camera-title" }, title, video);
  return new Promise((done) => {
    const take = async () => {
      done(await taken(video));
      dialog.close();
    };
    const shutter = button("Take it", take, { class: "primary", disabled: true }); // until there is something to see
    video.addEventListener("loadeddata", () => {
      shutter.disabled = false;
    });
    const cancel = button("Cancel", () => dialog.close());
    dialog.append(el("p", { class: "actions" }, shutter, cancel));
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(null);
    });
    signal.addEventListener("abort", () => dialog.close(), { once: true });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** @param {HTMLVideoElement} video */
async function taken(video) {
  const sheet = el("canvas", { width: video.videoWidth, height: video.videoHeight });
  pen(sheet).drawImage(video, 0, 0);
  const data = await encoded(sheet, "image/jpeg", 0.92);
  return new File([data], "photo.jpg", { type: data.type });
}

/**
 * Make a button that takes photos by the camera; where none can be had, it says so.
 *
 * @param {string} label
 * @param {AbortSignal} signal
 * @param {(file: File) => unknown} take
 */
export function cameraButton(label, signal, take) {
  const press = el("button", { type: "button", class: "icon plain", "aria-label": label, title: label }, icon("camera"));
  press.disabled = !hasCamera();
  press.addEventListener("click", async () => {
    try {
      const taken = await photograph(signal);
      if (taken) take(taken);
    } catch {
      press.replaceWith(el("span", { class: "hint", role: "status" }, "No camera can be used here."));
    }
  });
  return press;
}
