// A sheet to draw on with mouse, pen or touch.

import { el, encoded, pen } from "../lib/dom.js";

const SIDE = 280; // pixels of the image
const STROKE = 18; // as wide as MNIST's strokes are on a sheet of that size

/** @typedef {[x: number, y: number]} Place on the sheet, in its pixels */

export class Pad {
  /** @param {() => unknown} drawn is called after each stroke */
  constructor(drawn) {
    const named = { role: "img", "aria-label": "Sheet to draw a digit on" };
    this.node = el("canvas", { width: SIDE, height: SIDE, class: "pad", ...named });
    this.pen = pen(this.node);
    this.drawn = drawn;
    /** @type {Place | null} */
    this.last = null;
    this.node.addEventListener("pointerdown", (event) => this.#begin(event));
    this.node.addEventListener("pointermove", (event) => this.#move(event));
    this.node.addEventListener("pointerup", () => this.#end());
    this.node.addEventListener("pointercancel", () => {
      this.last = null;
    });
    this.clear();
  }

  clear() {
    this.pen.fillStyle = "#fff";
    this.pen.fillRect(0, 0, SIDE, SIDE);
  }

  image() {
    return encoded(this.node, "image/png");
  }

  /** @param {PointerEvent} event */
  #begin(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.node.setPointerCapture(event.pointerId);
    const place = this.#place(event);
    this.#line(place, place); // a dot
  }

  /**
   * Draw on. A quick stroke comes as few events; the places in between are coalesced in them.
   *
   * @param {PointerEvent} event
   */
  #move(event) {
    if (!this.last) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) this.#line(this.last, this.#place(one));
  }

  #end() {
    if (!this.last) return;
    this.last = null;
    this.drawn();
  }

  /**
   * @param {PointerEvent} event
   * @returns {Place}
   */
  #place(event) {
    const box = this.node.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  }

  /**
   * @param {Place} from
   * @param {Place} to
   */
  #line(from, to) {
    Object.assign(this.pen, { lineWidth: STROKE, lineCap: "round", lineJoin: "round", strokeStyle: "#000" });
    this.pen.beginPath();
    this.pen.moveTo(...from);
    this.pen.lineTo(...to);
    this.pen.stroke();
    this.last = to;
  }
}
