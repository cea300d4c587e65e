// A job's story: how long each phase took, and its event log as sentences. Steps are drawn as curves alone.

import { el, table } from "../lib/dom.js";
import { Fold } from "../lib/fold.js";
import { clock, figures, percent, seconds, when, words } from "../lib/format.js";

/** @type {Record<string, (data: JobEvent["data"]) => string | undefined>} */
const SENTENCES = {
  status: ({ status = "", phase, message, attempt, reason }) =>
    [words(phase || status), attempt && `attempt ${attempt}`, message, reason].filter(Boolean).join(" · "),
  metrics: ({ epoch, train_loss: loss, validation_accuracy: accuracy }) =>
    `epoch ${epoch} · loss ${figures(loss)}${accuracy == null ? "" : ` · validation ${percent(accuracy)}`}`,
  checkpoint: ({ epoch }) => `checkpoint of epoch ${epoch}`,
  log: ({ message }) => message,
  done: ({ status }) => status,
};

export class Story {
  constructor() {
    this.list = el("ol", { class: "story", tabindex: "0", "aria-label": "Events" });
    this.phases = el("div", {});
    this.fold = new Fold("What happened", [this.phases, this.list]);
    this.node = this.fold.node;
  }

  /** @param {JobEvent} event */
  add({ event, data }) {
    if (event === "step") return;
    const sentence = SENTENCES[event]?.(data) ?? JSON.stringify(data);
    const at = data.at && el("time", { datetime: data.at, title: when(data.at) }, clock(data.at));
    this.list.append(el("li", {}, el("span", { class: "kind" }, event), el("span", { class: "said" }, sentence), at || ""));
    this.fold.inside.textContent = `${this.list.childElementCount} events`;
  }

  /** @param {JobView} job */
  update({ phases, attempt }) {
    const rows = phases.map(({ phase, message, started_at: from, ended_at: to }) => [
      words(phase),
      clock(from),
      to ? seconds((Date.parse(to) - Date.parse(from)) / 1000) : "goes on",
      message,
    ]);
    const now = JSON.stringify(rows);
    if (!rows.length || this.phases.dataset.shown === now) return;
    this.phases.dataset.shown = now;
    this.phases.replaceChildren(table(`Phases of attempt ${attempt}`, ["Phase", "Began", "Took", ""], rows));
  }
}
