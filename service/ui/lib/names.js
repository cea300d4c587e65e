// Names of data sets and models, as the service takes them.

const ALLOWED = /^[a-z0-9][a-z0-9_-]{0,63}$/;

/** @param {string} name */
export const isName = (name) => ALLOWED.test(name);

/**
 * Make a name as close to a file's or a person's as the service allows.
 *
 * @param {string} text
 */
export const nameFrom = (text) =>
  text
    .replace(/(\.(zip|tar|tgz|gz))+$|: \d+ files$/i, "")
    .toLowerCase()
    .replace(/[^a-z0-9_-]+/g, "-")
    .replace(/^[-_]+|-+$/g, "")
    .slice(0, 64);

/**
 * Find a name that nothing bears yet: pets, pets-2, pets-3.
 *
 * @param {string} wished
 * @param {string[]} taken
 */
export function freeName(wished, taken) {
  for (let n = 1; ; n++) {
    const name = n === 1 ? wished : `${wished}-${n}`;
    if (!taken.includes(name)) return name;
  }
}
