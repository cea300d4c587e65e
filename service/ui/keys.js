// The API key of this tab, and the dialog in which it is entered.

const STORED = "tuneserve-api-key";

/** @implements {KeySource} */
export class Keys {
  /** @param {HTMLDialogElement} dialog */
  constructor(dialog) {
    this.dialog = dialog;
    this.field = /** @type {HTMLInputElement} */ (dialog.querySelector("input"));
    this.why = /** @type {HTMLElement} */ (dialog.querySelector("[role=alert]"));
    /** @type {Promise<void> | null} */
    this.pending = null;
  }

  current() {
    return sessionStorage.getItem(STORED) || "";
  }

  /**
   * Answer true when there is another key than `refused` now. Several calls at once share one dialog.
   *
   * @param {string} refused
   * @param {string} why
   */
  async request(refused, why) {
    if (this.current() !== refused) return true;
    this.pending ??= this.#open(why).finally(() => {
      this.pending = null;
    });
    await this.pending;
    return this.current() !== refused;
  }

  /**
   * @param {string} why
   * @returns {Promise<void>}
   */
  #open(why) {
    this.why.textContent = why;
    this.field.value = this.current();
    this.dialog.returnValue = "cancel"; // what Escape leaves
    this.dialog.showModal();
    return new Promise((done) => {
      this.dialog.addEventListener("close", () => done(this.#keep()), { once: true });
    });
  }

  #keep() {
    if (this.dialog.returnValue !== "use") return;
    const key = this.field.value.trim();
    if (key) sessionStorage.setItem(STORED, key);
    else sessionStorage.removeItem(STORED);
  }
}
