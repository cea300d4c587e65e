// What a person gives as a data set: an archive, or a folder, chosen or dropped.

import { tar } from "./tar.js";

/**
 * Make one archive: a single file as it is, anything else as a tar; null when there is nothing.
 *
 * @param {GivenFile[]} files
 * @returns {{ name: string, blob: Blob } | null}
 */
export function source(files) {
  if (!files.length) return null;
  const [path, file] = files[0];
  if (files.length === 1 && !path.includes("/")) return { name: file.name, blob: file };
  return { name: `${path.split("/")[0]}: ${files.length} files`, blob: tar(files) };
}

/**
 * List the files of an input; with `webkitdirectory` the paths begin with the folder's name.
 *
 * @param {HTMLInputElement} input
 * @returns {GivenFile[]}
 */
export const chosen = (input) => [...(input.files ?? [])].map((file) => [file.webkitRelativePath || file.name, file]);

/**
 * List the files that were dropped, folder by folder.
 *
 * @param {DataTransfer | null} transfer
 * @returns {Promise<GivenFile[]>}
 */
export async function dropped(transfer) {
  const items = [...(transfer?.items ?? [])].filter((item) => item.kind === "file");
  const given = items.map((item) => ({ entry: item.webkitGetAsEntry(), file: item.getAsFile() })); // now, or they are gone
  return (await Promise.all(given.map(walkItem))).flat();
}

/**
 * @param {{ entry: FileSystemEntry | null, file: File | null }} item
 * @returns {Promise<GivenFile[]>}
 */
async function walkItem({ entry, file }) {
  if (entry) return walk(entry, entry.name);
  return file ? [[file.name, file]] : [];
}

/**
 * @param {FileSystemEntry} entry
 * @param {string} path
 * @returns {Promise<GivenFile[]>}
 */
async function walk(entry, path) {
  if (isFile(entry)) return [[path, await new Promise((done, failed) => entry.file(done, failed))]];
  const found = [];
  for (const child of await children(/** @type {FileSystemDirectoryEntry} */ (entry))) {
    found.push(...(await walk(child, `${path}/${child.name}`)));
  }
  return found;
}

/**
 * @param {FileSystemEntry} entry
 * @returns {entry is FileSystemFileEntry}
 */
const isFile = (entry) => entry.isFile;

/**
 * List a folder. Its reader gives a hundred at a time, and nothing at the end.
 *
 * @param {FileSystemDirectoryEntry} folder
 */
async function children(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const more = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!more.length) return found;
    found.push(...more);
  }
}
