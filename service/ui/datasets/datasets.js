// The data sets: what a recipe can name, what of it is at hand, and a form that sends one's own.

import { button, el, table } from "../lib/dom.js";
import { number, words } from "../lib/format.js";
import { sendForm } from "./upload_form.js";

const HEAD = ["Data set", "Kind", "Version", "Classes", "Images", ""];

export async function datasetsView({ main, api, signal, fail }) {
  const list = el("div", {});
  const show = async () => {
    const { data } = await api.get("datasets", signal);
    const here = data.filter((one) => one.available).sort(ownFirst);
    list.replaceChildren(
      table("Data sets", HEAD, here.map((one) => row(one, remove))),
      elsewhere(data.filter((one) => !one.available)),
    );
  };
  const remove = (name) => deleted(api, name).then((is) => is && show()).catch(fail);
  await show();
  main.replaceChildren(
    el("h1", {}, "Data sets"),
    sendForm(api, signal),
    el("section", {}, el("h2", {}, "What a job can train on"), list),
  );
}

/** Deletes it if the reader means it, and says whether they did. */
export async function deleted(api, name) {
  if (!confirm(`Delete the data set ${name}? Models that were trained on it stay.`)) return false;
  await api.fetch(`datasets/${encodeURIComponent(name)}`, { method: "DELETE" });
  return true;
}

const ownFirst = (a, b) => (a.kind === "built_in") - (b.kind === "built_in");

export const trainOn = (name, attributes = {}) =>
  el("a", { class: "button", href: `#/train?dataset=${encodeURIComponent(name)}`, ...attributes }, "Train on it");

/** Known by name alone. */
function elsewhere(sets) {
  if (!sets.length) return "";
  const links = sets.map(({ name }) => el("li", {}, el("a", { href: `#/train?dataset=${name}` }, name)));
  return el(
    "section",
    {},
    el("h2", {}, "What a job would fetch first"),
    el("p", { class: "hint" }, "None of their files is on this machine; the job that needs one gets it if it can."),
    el("ul", { class: "names" }, links),
  );
}

function row({ name, kind, version, classes, images }, remove) {
  const own = kind === "uploaded";
  return [
    own ? el("a", { href: `#/datasets/${name}` }, name) : name,
    words(kind),
    version ?? "–",
    number(classes) ?? "–",
    number(images) ?? "–",
    el(
      "span",
      { class: "actions" },
      trainOn(name, { "aria-label": `Train on ${name}` }),
      own && button("Delete", () => remove(name), { "aria-label": `Delete ${name}` }),
    ),
  ];
}
