// The API key of this tab, and the dialog that asks for it.

const STORED = "tuneserve-api-key";

export class Keys {
  constructor(dialog) {
    this.dialog = dialog;
    this.asking = null;
  }

  current() {
    return sessionStorage.getItem(STORED) || "";
  }

  /** True when there is another key than `refused` now. Several calls at once share one dialog. */
  async ask(refused, why) {
    if (this.current() !== refused) return true;
    this.asking ??= this.#open(why).finally(() => (this.asking = null));
    await this.asking;
    return this.current() !== refused;
  }

  #open(why) {
    const field = this.dialog.querySelector("input");
    this.dialog.querySelector("[role=alert]").textContent = why;
    field.value = this.current();
    this.dialog.returnValue = "cancel"; // what Escape leaves
    this.dialog.showModal();
    return new Promise((done) => this.dialog.addEventListener("close", () => done(this.#keep(field)), { once: true }));
  }

  #keep(field) {
    if (this.dialog.returnValue !== "use") return;
    const key = field.value.trim();
    if (key) sessionStorage.setItem(STORED, key);
    else sessionStorage.removeItem(STORED);
  }
}
