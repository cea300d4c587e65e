// A sheet to draw on with mouse, pen or touch.

import { el } from "../lib/dom.js";

const SIDE = 280; // pixels of the image
const STROKE = 18; // as wide as MNIST's strokes are on a sheet of that size

export class Pad {
  /** `drawn` is called after each stroke. */
  constructor(drawn) {
    const named = { role: "img", "aria-label": "Sheet to draw a digit on" };
    this.node = el("canvas", { width: SIDE, height: SIDE, class: "pad", ...named });
    this.pen = this.node.getContext("2d");
    this.drawn = drawn;
    this.last = null;
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) {
      this.node.addEventListener(name, (event) => this[name](event));
    }
    this.clear();
  }

  clear() {
    this.pen.fillStyle = "#fff";
    this.pen.fillRect(0, 0, SIDE, SIDE);
  }

  image() {
    return new Promise((done) => this.node.toBlob(done, "image/png"));
  }

  pointerdown(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.node.setPointerCapture(event.pointerId);
    this.last = this.#place(event);
    this.#line(this.last); // a dot
  }

  /** A quick stroke comes as few events; the places in between are coalesced in them. */
  pointermove(event) {
    if (!this.last) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) this.#line(this.#place(one));
  }

  pointerup() {
    if (!this.last) return;
    this.last = null;
    this.drawn();
  }

  pointercancel() {
    this.last = null;
  }

  #place(event) {
    const box = this.node.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  }

  #line(to) {
    Object.assign(this.pen, { lineWidth: STROKE, lineCap: "round", lineJoin: "round", strokeStyle: "#000" });
    this.pen.beginPath();
    this.pen.moveTo(...this.last);
    this.pen.lineTo(...to);
    this.pen.stroke();
    this.last = to;
  }
}
