// What a person gives as a data set: an archive, or a folder, chosen or dropped.

import { tar } from "./tar.js";

/** {name, blob}: one archive as it is, anything else as a tar; null when there is nothing. */
export function source(files) {
  if (!files.length) return null;
  const [path, file] = files[0];
  if (files.length === 1 && !path.includes("/")) return { name: file.name, blob: file };
  return { name: `${path.split("/")[0]}: ${files.length} files`, blob: tar(files) };
}

/** [[path, File], ...] of a file input; with `webkitdirectory` the paths begin with the folder's name. */
export const chosen = (input) => [...input.files].map((file) => [file.webkitRelativePath || file.name, file]);

/** The same of what was dropped, folder by folder. */
export async function dropped(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const given = items.map((item) => [item.webkitGetAsEntry(), item.getAsFile()]); // now, or they are gone
  return (await Promise.all(given.map(([entry, file]) => (entry ? walk(entry, entry.name) : [[file.name, file]])))).flat();
}

async function walk(entry, path) {
  if (entry.isFile) return [[path, await new Promise((done, failed) => entry.file(done, failed))]];
  const found = [];
  for (const child of await children(entry)) found.push(...(await walk(child, `${path}/${child.name}`)));
  return found;
}

/** A reader gives a hundred at a time, and nothing at the end. */
async function children(folder) {
  const [reader, found] = [folder.createReader(), []];
  for (;;) {
    const more = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!more.length) return found;
    found.push(...more);
  }
}
