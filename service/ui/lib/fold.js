// A folded part of a screen; its line says what is inside.

import { el } from "./dom.js";
import { icon } from "./icons.js";

export class Fold {
  /**
   * @param {string} title
   * @param {Child} content
   * @param {string} inside
   */
  constructor(title, content, inside = "") {
    this.inside = el("span", { class: "soft" }, inside);
    this.node = el("details", { class: "fold" }, el("summary", {}, icon("chevron"), el("span", {}, title), this.inside), el("div", { class: "fold-in" }, content));
  }
}
