// The event log of a job as sentences. Losses are drawn as curves; here they are one line an epoch.

import { el } from "./dom.js";
import { number, percent, words } from "./format.js";

const SENTENCES = {
  status: ({ status, phase, message, attempt, ...more }) =>
    [words(phase || status), attempt && `attempt ${attempt}`, message, more.reason].filter(Boolean).join(" · "),
  metrics: ({ epoch, train_loss: loss, validation_accuracy: accuracy }) =>
    `epoch ${epoch} · loss ${number(loss, 4)}${accuracy == null ? "" : ` · validation ${percent(accuracy)}`}`,
  checkpoint: ({ epoch }) => `checkpoint of epoch ${epoch}`,
  log: ({ message }) => message,
  done: ({ status }) => status,
};

export class Story {
  constructor() {
    this.list = el("ol", { class: "story" });
    this.node = el("section", {}, el("h2", {}, "Story"), this.list);
  }

  add({ event, data }) {
    const sentence = SENTENCES[event]?.(data) ?? JSON.stringify(data);
    this.list.append(el("li", {}, el("div", {}, el("span", { class: "kind" }, event), " ", el("span", {}, sentence))));
  }
}
