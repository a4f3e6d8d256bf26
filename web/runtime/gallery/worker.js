/** The worker of the gallery: a module, as SQLite's files are opened without waiting only in a worker. */

import { Storage } from "./storage.js";

/** @type {Promise<Storage> | undefined} */
let storage;

self.onmessage = async ({ data: { id, method, args } }) => {
  try {
    const value = await serve(method, args);
    self.postMessage({ id, value }, value instanceof Uint8Array ? { transfer: [value.buffer] } : {});
  } catch (error) {
    const { name, message } = /** @type {Error} */ (error);
    self.postMessage({ id, error: { name, message: told(message) } });
  }
};

/**
 * @param {string} method
 * @param {any[]} args
 * @returns {Promise<unknown>}
 */
async function serve(method, args) {
  if (method === "open") {
    storage = open(args[0], args[1], args[2]);
    await storage;
    return null;
  }
  const opened = await storage;
  if (opened === undefined) throw new Error("the gallery is not open");
  switch (method) {
    case "exportFile":
      return opened.exportFile();
    case "importFile":
      return opened.importFile(args[0]);
    case "close":
      return opened.close();
    default:
      return /** @type {any} */ (opened.open)[method](...args);
  }
}

/**
 * @param {string} fingerprint
 * @param {number} width
 * @param {string} lib
 * @returns {Promise<Storage>}
 */
async function open(fingerprint, width, lib) {
  const { default: init } = await import(new URL("sqlite/index.js", lib).href);
  const sqlite = await init({ print() {}, printErr() {} });
  const pool = await sqlite.installOpfsSAHPoolVfs({
    name: `tlc-gallery-${fingerprint.slice(0, 16)}`,
    initialCapacity: 8,
    verbosity: 0,
    // Without it a pool that another tab holds is removed, with all that is in it.
    preserveOnInitFailure: true,
  });
  return new Storage(pool, fingerprint, width);
}

/**
 * @param {string} message
 * @returns {string}
 */
function told(message) {
  if (/quota|SQLITE_FULL|disk is full/i.test(message))
    return "the browser's storage is full; nothing was changed. Make room and try again";
  // SQLite's files do not pass on the browser's reason, and browsers do not say how much room there is.
  if (/SQLITE_IOERR/.test(message))
    return "the browser cannot write what it keeps: its storage is full, or fails; nothing was changed. Make room and try again";
  if (/Access Handle|NoModificationAllowed/i.test(message)) return "another tab has the gallery open; close it";
  return message;
}
