// The photos that a person gave, by class, before anything is sent. It lives as long as the page.

import { nameFrom } from "../lib/names.js";
import { source } from "../photos/source.js";

/**
 * @typedef {{ file: File, part: string, url: string }} Photo `part`: train, test or val, where a folder says so
 * @typedef {{ label: string, photos: Photo[] }} PhotoClass
 */

const PHOTO = /\.(jpe?g|png|webp|gif|bmp|tiff?|heic|heif|avif)$/i;
const ARCHIVE = /\.(zip|tar|tgz|tar\.gz)$/i;
/** @type {Record<string, string>} */
const PARTS = { train: "train", training: "train", test: "test", val: "val", valid: "val", validation: "val" };

export class Collection {
  constructor() {
    this.name = "";
    /** @type {PhotoClass[]} */
    this.classes = [];
    /** @type {Photo[]} */
    this.loose = [];
    /** @type {string[]} names of files that are no photos */
    this.leftOut = [];
    /** @type {File | null} whose content only the service looks at */
    this.archive = null;
    /** @type {string[]} what the service warned of when it took the last job */
    this.warnings = [];
  }

  get isEmpty() {
    return !this.archive && !this.classes.length && !this.loose.length;
  }

  /** Count the photos that have a class. */
  get count() {
    return this.classes.reduce((sum, one) => sum + one.photos.length, 0);
  }

  clear() {
    for (const { url } of [...this.loose, ...this.classes.flatMap((one) => one.photos)]) if (url) URL.revokeObjectURL(url);
    Object.assign(this, new Collection());
  }

  /**
   * Take files as they were chosen or dropped: a folder is a class, photos beside folders are loose.
   *
   * @param {GivenFile[]} files
   */
  add(files) {
    const [first] = files;
    if (files.length === 1 && ARCHIVE.test(first[0])) return this.#takeArchive(first[1]);
    const seen = files.filter(([path]) => !/(^|\/)[.]|__MACOSX/.test(path));
    const deep = seen.some(([path]) => path.split("/").length > 2);
    for (const [path, file] of seen) this.#take(path.split("/").slice(0, -1), file, deep);
  }

  /** @param {File} file */
  #takeArchive(file) {
    this.archive = file;
    this.name ||= nameFrom(file.name);
  }

  /**
   * @param {string[]} folders above the file
   * @param {File} file
   * @param {boolean} deep whether there are folders in the outermost one
   */
  #take(folders, file, deep) {
    if (!isPhoto(file)) {
      this.leftOut.push(file.name);
      return;
    }
    const label = folders.at(-1);
    const part = PARTS[folders.at(-2)?.toLowerCase() ?? ""] ?? "";
    const isLoose = !label || (deep && folders.length === 1) || label.toLowerCase() in PARTS;
    const photo = { file, part: isLoose ? "" : part, url: "" };
    if (folders.length && (deep || !this.name)) this.name ||= nameFrom(folders[0]);
    if (isLoose) this.loose.push(photo);
    else this.classOf(label).photos.push(photo);
  }

  /**
   * Find the class of that name; make it if there is none.
   *
   * @param {string} label
   */
  classOf(label) {
    const found = this.classes.find((one) => one.label === label);
    if (found) return found;
    const made = { label, photos: /** @type {Photo[]} */ ([]) };
    this.classes.push(made);
    return made;
  }

  /**
   * Give a class another name; one that another class has makes them one.
   *
   * @param {PhotoClass} one
   * @param {string} label
   */
  rename(one, label) {
    const other = this.classes.find((each) => each !== one && each.label === label);
    if (!other) {
      one.label = label;
      return;
    }
    other.photos.push(...one.photos);
    this.classes.splice(this.classes.indexOf(one), 1);
  }

  /**
   * Put the photos into a class; null: leave them out.
   *
   * @param {Set<Photo>} photos
   * @param {string | null} label
   */
  move(photos, label) {
    /** @param {Photo} photo */
    const stays = (photo) => !photos.has(photo);
    this.loose = this.loose.filter(stays);
    for (const one of this.classes) one.photos = one.photos.filter(stays);
    if (label !== null) this.classOf(label).photos.push(...photos);
  }

  /** @param {PhotoClass} one */
  remove(one) {
    this.classes.splice(this.classes.indexOf(one), 1);
  }

  /** Say in a sentence what keeps it from being trained on; empty: nothing. */
  missing() {
    if (this.archive) return "";
    const filled = this.classes.filter((one) => one.photos.length);
    if (!filled.length) return "No photo has a class yet. Choose photos, then press a class.";
    if (filled.length === 1) return `Only one class so far: ${filled[0].label}. Add a second, so that there is something to tell apart.`;
    return "";
  }

  /** Pack all that has a class as one file. */
  packed() {
    if (this.archive) return { name: this.archive.name, blob: this.archive };
    const parts = this.classes.some(({ photos }) => photos.some((one) => one.part));
    const files = this.classes.flatMap(({ label, photos }) => named(label, photos, parts));
    return source(files);
  }
}

/** @param {File} file */
const isPhoto = (file) => file.type.startsWith("image/") || PHOTO.test(file.name);

/**
 * Give each photo a path of its own: several folders may have had a file of one name.
 *
 * @param {string} label
 * @param {Photo[]} photos
 * @param {boolean} parts whether the folders of parts stand above the classes
 * @returns {GivenFile[]}
 */
function named(label, photos, parts) {
  /** @type {Map<string, number>} */
  const times = new Map();
  return photos.map(({ file, part }) => {
    const folder = parts ? `${part || "train"}/${label}` : label;
    const path = `${folder}/${file.name}`;
    const n = (times.get(path) ?? 0) + 1;
    times.set(path, n);
    return [n === 1 ? path : `${folder}/${n}-${file.name}`, file];
  });
}
