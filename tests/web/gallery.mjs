/**
 * Does what a JSON file says to a gallery, with the runtime in JavaScript, and writes the file that comes out.
 *
 *   node gallery.mjs SQLITE_MODULE STEPS.json IN OUT        IN may be - for none
 */

import fs from "node:fs";
import { Database } from "../../web/runtime/gallery/database.js";
import { Gallery } from "../../web/runtime/gallery/gallery.js";

const [module, steps, from, to] = process.argv.slice(2);
const { default: init } = await import(module);
const sqlite = await init({ print() {}, printErr() {} });
const connection = new sqlite.oo1.DB(":memory:");
if (from !== "-") {
  const bytes = new Uint8Array(fs.readFileSync(from));
  bytes[18] = bytes[19] = 1; // out of the log's mode, as SQLite's pool does when it imports
  const at = sqlite.wasm.allocFromTypedArray(bytes);
  const flags = sqlite.capi.SQLITE_DESERIALIZE_FREEONCLOSE | sqlite.capi.SQLITE_DESERIALIZE_RESIZEABLE;
  sqlite.capi.sqlite3_deserialize(connection.pointer, "main", at, bytes.length, bytes.length, flags);
}
const { fingerprint, width, calls } = JSON.parse(fs.readFileSync(steps, "utf8"));
const floats = (text) => new Float32Array(new Uint8Array(Buffer.from(text, "base64")).buffer);
const plain = (_, value) => (value instanceof Map ? Object.fromEntries(value) : value);

const said = [];
const gallery = new Gallery(new Database(connection), fingerprint, width, () => new Date("2026-01-02T03:04:05.678Z"));
for (const { method, args } of calls) {
  try {
    if (method === "add") {
      const [label, vectors, sources] = args;
      const pictured = sources.map((one) => ({
        ...one,
        thumbnail: one.thumbnail && new Uint8Array(Buffer.from(one.thumbnail)),
      }));
      said.push(gallery.add(label, vectors.map(floats), pictured));
    } else said.push(gallery[method](...args));
  } catch (error) {
    said.push({ error: error.constructor.name });
  }
}
said.push({ examples: gallery.examples(), bad: gallery.check(), rows: gallery.load().map(({ id }) => id) });
fs.writeFileSync(to, sqlite.capi.sqlite3_js_db_export(connection.pointer));
process.stdout.write(JSON.stringify(said, plain));
