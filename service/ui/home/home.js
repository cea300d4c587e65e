// Home: how to begin where there is no model yet; else what there is, as covers.

import { el } from "../lib/dom.js";
import { icon } from "../lib/icons.js";
import { modelCards } from "../models/cards.js";
import { listable } from "../photos/thumbnails.js";
import { dropZone, startScreen } from "./start.js";

/** @param {ViewContext} context */
export async function homeView(context) {
  const { main, api, signal } = context;
  /** @type {[ModelPage, Set<string>]} */
  const [page, own] = await Promise.all([api.get("models?limit=100", signal), listable(api, signal)]);
  if (!page.data.length) return startScreen(context);
  const cards = modelCards(context, page.data, own);
  main.replaceChildren(
    el("h1", { class: "unseen" }, "Models"),
    dropZone(context, "slim"),
    el(
      "section",
      { class: "below", "aria-labelledby": "yours" },
      el("div", { class: "head" }, el("h2", { id: "yours" }, "Your models"), search(cards), el("a", { class: "small", href: "#/models" }, "All versions")),
      cards,
    ),
  );
}

/**
 * Make the field that finds a model by its name.
 *
 * @param {HTMLElement} cards
 */
function search(cards) {
  const field = el("input", { type: "search", "aria-label": "Find a model", placeholder: "Find a model" });
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    for (const card of cards.children) card.toggleAttribute("hidden", !card.querySelector("b")?.textContent?.toLowerCase().includes(wanted));
  });
  return el("div", { class: "search push" }, icon("search"), field);
}
