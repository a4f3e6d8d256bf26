/**
 * Where the gallery's file lies: the origin's private file system, through SQLite's pool of open files. Runs in a
 * worker, needs no cross-origin isolation, and one tab has it at a time.
 *
 * A file that is imported gets a new name and is checked; only then does it take the place of the one before. At the
 * start the latest file that is sound is taken.
 */

import { GalleryError } from "../errors.js";
import { Database } from "./database.js";
import { Gallery } from "./gallery.js";

/**
 * What of SQLite's pool is used.
 * @typedef {{OpfsSAHPoolDb: new (name: string) => import("./database.js").Connection, getFileNames(): string[],
 *   exportFile(name: string): Uint8Array<ArrayBuffer>, importDb(name: string, bytes: Uint8Array): unknown,
 *   unlink(name: string): boolean}} Pool
 */

/** The gallery of one model, in this browser. */
export class Storage {
  /**
   * @param {Pool} pool
   * @param {string} fingerprint
   * @param {number} width
   */
  constructor(pool, fingerprint, width) {
    this.pool = pool;
    this.fingerprint = fingerprint;
    this.width = width;
    /** @type {string | undefined} */
    this.name = undefined;
    /** @type {Gallery | undefined} */
    this.gallery = undefined;
    this.#start();
  }

  /**
   * The gallery, opened.
   * @returns {Gallery}
   */
  get open() {
    if (this.gallery === undefined) throw new GalleryError("the gallery is closed; reload the page");
    return this.gallery;
  }

  /**
   * Return the gallery as one file, which `tlc` opens as it is.
   * @returns {Uint8Array<ArrayBuffer>}
   */
  exportFile() {
    return this.pool.exportFile(/** @type {string} */ (this.name));
  }

  /**
   * Put a file in the gallery's place: one of ours, or of `tlc gallery export`.
   * @param {Uint8Array} bytes
   * @returns {Map<string, number>} the classes that are there now
   * @throws {GalleryError} it is no gallery, of another model, or damaged; the one before stays
   */
  importFile(bytes) {
    if (new TextDecoder("latin1").decode(bytes.subarray(0, 15)) !== "SQLite format 3") {
      throw new GalleryError("this is not a gallery of tlc; choose a file that was exported from one");
    }
    const name = nameOf(numberOf(this.name) + 1);
    try {
      this.pool.importDb(name, bytes);
      const incoming = this.#opened(name);
      const wrong = incoming.check();
      incoming.db.connection.close();
      if (wrong.length) throw new GalleryError(`the file is damaged (${wrong[0]}); nothing was imported`);
    } catch (error) {
      this.pool.unlink(name);
      if (error instanceof GalleryError) throw error;
      throw new GalleryError(`the file cannot be read (${/** @type {Error} */ (error).message}); nothing was imported`);
    }
    this.close();
    if (this.name !== undefined) this.pool.unlink(this.name);
    this.#use(name);
    return this.open.classes();
  }

  /** Close the file; what was acknowledged is in it. */
  close() {
    this.gallery?.db.connection.close();
    this.gallery = undefined;
  }

  #start() {
    const names = this.pool.getFileNames().filter((name) => numberOf(name) > 0);
    names.sort((a, b) => numberOf(b) - numberOf(a));
    for (const name of names) {
      try {
        const gallery = this.#opened(name);
        if (gallery.db.value("PRAGMA quick_check") !== "ok") throw new GalleryError(`${name} is damaged`);
        gallery.db.connection.close();
        this.#use(name);
        return;
      } catch (error) {
        // The one before it may be whole: an import that was cut short leaves both.
        if (name === names[names.length - 1]) throw error;
      }
    }
    this.#use(nameOf(1));
  }

  /** @param {string} name */
  #use(name) {
    this.gallery = this.#opened(name);
    this.name = name;
  }

  /**
   * @param {string} name
   * @returns {Gallery}
   */
  #opened(name) {
    const db = new Database(new this.pool.OpfsSAHPoolDb(name));
    try {
      db.rows("PRAGMA locking_mode=exclusive");
      db.rows("PRAGMA journal_mode=TRUNCATE");
      db.run("PRAGMA synchronous=FULL");
      db.run("PRAGMA foreign_keys=ON");
      db.run("PRAGMA trusted_schema=OFF");
      return new Gallery(db, this.fingerprint, this.width);
    } catch (error) {
      db.connection.close();
      throw error;
    }
  }
}

/**
 * @param {number} number
 * @returns {string}
 */
function nameOf(number) {
  return `/gallery-${number}`;
}

/**
 * @param {string | undefined} name
 * @returns {number}
 */
function numberOf(name) {
  return Number(/^\/gallery-(\d+)$/.exec(name ?? "")?.[1] ?? 0);
}
