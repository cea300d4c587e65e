// A name that is edited where it stands.

import { el } from "./dom.js";
import { icon } from "./icons.js";

/**
 * Make a heading that becomes a field when pressed. `rename` is given what was entered, unless it was given up.
 *
 * @param {"h1" | "h3"} tag
 * @param {string} name
 * @param {string} label for a screen reader
 * @param {(name: string) => unknown} rename
 */
export function editable(tag, name, label, rename) {
  const shown = el(
    "button",
    { type: "button", class: "plain named", "aria-label": label, on: { click: () => edit() } },
    el(tag, {}, name),
    icon("pencil"),
  );
  const place = el("span", { class: "edited" }, shown);
  function edit() {
    const field = el("input", { type: "text", value: name, "aria-label": label, autocomplete: "off", spellcheck: "false" });
    let over = false;
    /** @param {boolean} keep */
    const end = (keep) => {
      if (over) return;
      over = true;
      place.replaceChildren(shown);
      shown.focus();
      const entered = field.value.trim();
      if (keep && entered && entered !== name) rename(entered);
    };
    field.addEventListener("blur", () => end(true));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "Escape") {
        event.preventDefault();
        end(event.key === "Enter");
      }
    });
    place.replaceChildren(field);
    field.select();
  }
  return place;
}
