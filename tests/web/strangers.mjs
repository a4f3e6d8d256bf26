/**
 * Imports galleries, and opens them as what is there at the start, as the page does in the browser's private files.
 *
 *   node strangers.mjs SQLITE_MODULE FINGERPRINT WIDTH OURS FILE…
 *
 * Writes, of each FILE, what was said, and the classes that were there afterwards.
 */

import fs from "node:fs";
import { Storage } from "../../web/runtime/gallery/storage.js";

const [module, fingerprint, width, ours, ...files] = process.argv.slice(2);
const { default: init } = await import(module);
const sqlite = await init({ print() {}, printErr() {} });

/**
 * Return a pool like SQLite's, with its files in memory.
 * @param {[string, Uint8Array][]} held
 */
function pool(held) {
  const kept = new Map(held);
  class Held extends sqlite.oo1.DB {
    constructor(name) {
      super(":memory:");
      const bytes = kept.get(name);
      if (bytes === undefined) return;
      const at = sqlite.wasm.allocFromTypedArray(bytes);
      const flags = sqlite.capi.SQLITE_DESERIALIZE_FREEONCLOSE | sqlite.capi.SQLITE_DESERIALIZE_RESIZEABLE;
      sqlite.capi.sqlite3_deserialize(this.pointer, "main", at, bytes.length, bytes.length, flags);
    }
  }
  return {
    OpfsSAHPoolDb: Held,
    getFileNames: () => [...kept.keys()],
    exportFile: (name) => kept.get(name),
    importDb: (name, bytes) => kept.set(name, bytes),
    unlink: (name) => kept.delete(name),
  };
}

/** @param {string} file */
function read(file) {
  const bytes = new Uint8Array(fs.readFileSync(file));
  bytes[18] = bytes[19] = 1; // out of the log's mode, as SQLite's pool does when it imports
  return bytes;
}

/** @param {() => Storage} work */
function said(work) {
  try {
    return { classes: Object.fromEntries(work().open.classes()) };
  } catch ({ name, message }) {
    return { name, message };
  }
}

const results = [];
for (const file of files) {
  const there = pool([]);
  const storage = new Storage(there, fingerprint, Number(width));
  storage.importFile(read(ours));
  const imported = said(() => {
    storage.importFile(read(file));
    return storage;
  });
  const kept = said(() => storage);
  const open = (held) => said(() => new Storage(pool(held), fingerprint, Number(width)));
  const alone = ["/gallery-2", read(file)];
  const names = there.getFileNames().length;
  results.push({ imported, kept, names, alone: open([alone]), behind: open([["/gallery-1", read(ours)], alone]) });
}
process.stdout.write(JSON.stringify(results));
