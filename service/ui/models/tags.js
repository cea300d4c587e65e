// What points at a model: one tag an alias; the one that answers stands out.

import { el } from "../lib/dom.js";
import { icon } from "../lib/icons.js";

/** @param {ModelView} model */
export const tags = ({ aliases }) =>
  aliases.map((name) =>
    name === "serving" ? el("span", { class: "tag serves" }, icon("check"), "Answers now") : el("span", { class: "tag" }, name),
  );
