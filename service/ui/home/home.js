// Home: how to begin where there is no model yet; else what there is, as covers.

import { el } from "../lib/dom.js";
import { modelCards } from "../models/cards.js";
import { dropZone, startScreen } from "./start.js";

/** @param {ViewContext} context */
export async function homeView(context) {
  const { main, api, signal } = context;
  /** @type {ModelPage} */
  const page = await api.get("models?limit=100", signal);
  if (!page.data.length) return startScreen(context);
  main.replaceChildren(
    el("h1", { class: "unseen" }, "Models"),
    dropZone(context, "slim"),
    el("section", { class: "below", "aria-labelledby": "yours" }, el("div", { class: "head" }, el("h2", { id: "yours" }, "Your models")), modelCards(context, page.data)),
  );
}
