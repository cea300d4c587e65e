// A tar of files as they lie on the reader's disk: only the headers between them are made here.
// The form is ustar, of POSIX.1-1988; a path longer than its field has a header of its own (pax, POSIX.1-2001).

const BLOCK = 512;
const NAME = 100; // bytes of the field
const encoder = new TextEncoder();

/**
 * Pack the files. Nothing is read before the Blob is.
 *
 * @param {GivenFile[]} files
 */
export function tar(files) {
  return new Blob([...files.flatMap(([path, file]) => member(path, file)), new Uint8Array(2 * BLOCK)]);
}

/**
 * @param {string} path
 * @param {File} file
 * @returns {BlobPart[]}
 */
function member(path, file) {
  const name = encoder.encode(path);
  const own = [header(name.slice(0, NAME), file.size, "0"), file, padding(file.size)];
  return name.length > NAME ? [...longName(path), ...own] : own;
}

/** @param {string} path */
function longName(path) {
  const record = ` path=${path}\n`;
  const bytes = encoder.encode(record).length;
  let length = bytes + 1;
  while (bytes + String(length).length !== length) length += 1; // it counts its own digits
  const content = encoder.encode(`${length}${record}`);
  return [header(encoder.encode("long"), content.length, "x"), content, padding(content.length)];
}

/**
 * @param {Uint8Array} name
 * @param {number} size
 * @param {string} kind
 */
function header(name, size, kind) {
  const block = new Uint8Array(BLOCK);
  /** @type {(at: number, text: string) => void} */
  const put = (at, text) => block.set(encoder.encode(text), at);
  /** @type {(value: number, digits: number) => string} */
  const octal = (value, digits) => value.toString(8).padStart(digits, "0");
  block.set(name);
  put(100, `0000644\0${"0000000\0".repeat(2)}`); // mode, owner, group
  put(124, `${octal(size, 11)} ${octal(0, 11)} `); // size, time
  put(148, " ".repeat(8)); // the sum's own field counts as blanks
  put(156, kind);
  put(257, "ustar\x0000");
  put(148, `${octal(block.reduce((sum, byte) => sum + byte, 0), 6)}\0 `);
  return block;
}

/** @param {number} size */
const padding = (size) => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);
