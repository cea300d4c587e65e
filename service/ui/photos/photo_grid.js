// Photos that can be chosen: one stop for the Tab key, arrows between photos, Space, Shift and Ctrl A choose.

import { el } from "../lib/dom.js";

/**
 * @template Item
 */
export class PhotoGrid {
  /**
   * @param {string} name for a screen reader
   * @param {(item: Item, n: number) => { image: HTMLImageElement, alt: string }} draw
   * @param {() => unknown} changed is called when another set of photos is chosen
   */
  constructor(name, draw, changed) {
    this.node = el("div", { class: "strip", role: "group", "aria-label": name });
    this.draw = draw;
    this.changed = changed;
    /** @type {Item[]} */
    this.items = [];
    /** @type {Set<Item>} */
    this.chosen = new Set();
    this.last = 0;
    this.node.addEventListener("keydown", (event) => this.#key(event));
  }

  get tiles() {
    return /** @type {HTMLButtonElement[]} */ ([...this.node.querySelectorAll(".photo")]);
  }

  /**
   * Show these photos; `more` stands behind them.
   *
   * @param {Item[]} items
   * @param {HTMLElement | null} more
   */
  show(items, more = null) {
    this.items = items;
    for (const one of this.chosen) if (!items.includes(one)) this.chosen.delete(one);
    this.node.replaceChildren(...items.map((item, n) => this.#tile(item, n)), ...(more ? [more] : []));
  }

  clear() {
    this.chosen.clear();
    this.#mark();
  }

  /**
   * @param {Item} item
   * @param {number} n
   */
  #tile(item, n) {
    const { image, alt } = this.draw(item, n);
    image.alt = alt;
    const own = { type: "button", class: "photo", tabindex: n ? -1 : 0, "aria-pressed": String(this.chosen.has(item)) };
    /** @param {MouseEvent} event */
    const click = (event) => this.#choose(n, event.shiftKey);
    return el("button", { ...own, on: { click } }, image);
  }

  /**
   * @param {number} n
   * @param {boolean} through whether all from the last one on are chosen too
   */
  #choose(n, through) {
    const item = this.items[n];
    if (through) for (const one of this.items.slice(Math.min(n, this.last), Math.max(n, this.last) + 1)) this.chosen.add(one);
    else if (!this.chosen.delete(item)) this.chosen.add(item);
    this.last = n;
    this.#mark();
  }

  #mark() {
    for (const [n, tile] of this.tiles.entries()) tile.setAttribute("aria-pressed", String(this.chosen.has(this.items[n])));
    this.changed();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const tiles = this.tiles;
    const at = tiles.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    if (at < 0) return;
    const next = at + (steps(tiles)[event.key] ?? 0);
    if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
      this.chosen = new Set(this.items);
      this.#mark();
    } else if (next === at || !tiles[next]) return;
    else focus(tiles, next);
    event.preventDefault();
  }
}

/**
 * Say how far each arrow goes; a row is as long as the photos lie beside each other.
 *
 * @param {HTMLButtonElement[]} tiles
 * @returns {Record<string, number>}
 */
function steps(tiles) {
  const across = tiles.filter((one) => one.offsetTop === tiles[0].offsetTop).length;
  return { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across };
}

/**
 * @param {HTMLButtonElement[]} tiles
 * @param {number} n
 */
function focus(tiles, n) {
  for (const tile of tiles) tile.tabIndex = -1;
  tiles[n].tabIndex = 0;
  tiles[n].focus();
}
