/**
 * The gallery as the page sees it: every call goes to the worker and comes back when it is on disk. One tab writes; in
 * any other, opening says so.
 */

import * as errors from "../errors.js";

/** @typedef {import("./gallery.js").Change} Change */
/** @typedef {import("./gallery.js").Example} Example */
/** @typedef {import("./packed.js").ExampleSource} ExampleSource */

const KINDS = new Map(Object.entries(errors));

/** The gallery of one model, in this browser. */
export class GalleryClient {
  /** @param {Worker} worker */
  constructor(worker) {
    this.worker = worker;
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    this.waiting = new Map();
    this.latest = 0;
    /** @type {() => void} */
    this.letGo = () => {};
    worker.onmessage = ({ data: { id, value, error } }) => {
      const asked = this.waiting.get(id);
      this.waiting.delete(id);
      if (error === undefined) asked?.resolve(value);
      else asked?.reject(new (KINDS.get(error.name) ?? errors.GalleryError)(error.message));
    };
    worker.onerror = () => {
      for (const { reject } of this.waiting.values())
        reject(new errors.GalleryError("the gallery's worker cannot be loaded"));
      this.waiting.clear();
    };
  }

  /**
   * Open the gallery of a model, made if there is none.
   * @param {string} fingerprint
   * @param {number} width
   * @param {URL} lib the folder with `sqlite/`
   * @returns {Promise<GalleryClient>}
   * @throws {errors.GalleryError} another tab has it
   */
  static async open(fingerprint, width, lib = new URL("../../lib/", import.meta.url)) {
    const client = new GalleryClient(new Worker(new URL("./worker.js", import.meta.url), { type: "module" }));
    try {
      await client.#lock(`tlc-gallery-${fingerprint.slice(0, 16)}`);
      await client.#ask("open", fingerprint, width, lib.href);
    } catch (error) {
      client.end();
      throw error;
    }
    return client;
  }

  /** @param {string} label @param {Float32Array[]} vectors @param {ExampleSource[]} sources @returns {Promise<Change>} */
  add(label, vectors, sources) {
    return this.#ask("add", label, vectors, sources);
  }

  /** @param {string} label @returns {Promise<Change>} */
  forget(label) {
    return this.#ask("forget", label);
  }

  /** @param {string} from @param {string} to @param {boolean} merge @returns {Promise<Change>} */
  rename(from, to, merge = false) {
    return this.#ask("rename", from, to, merge);
  }

  /** @param {number[]} examples @returns {Promise<Change>} */
  remove(examples) {
    return this.#ask("remove", examples);
  }

  /** @param {number[]} examples @param {string} label @returns {Promise<Change>} */
  move(examples, label) {
    return this.#ask("move", examples, label);
  }

  /** @returns {Promise<Change>} */
  undo() {
    return this.#ask("undo");
  }

  /** @returns {Promise<Map<string, number>>} */
  classes() {
    return this.#ask("classes");
  }

  /** @param {string} [label] @returns {Promise<Example[]>} */
  examples(label) {
    return this.#ask("examples", label);
  }

  /** The labels under which each image is enrolled. @param {string[]} sha256 @returns {Promise<string[][]>} */
  labelsOf(sha256) {
    return this.#ask("labelsOf", sha256);
  }

  /** @param {number} example @returns {Promise<Uint8Array<ArrayBuffer> | null>} */
  thumbnail(example) {
    return this.#ask("thumbnail", example);
  }

  /** @param {number} after @returns {Promise<import("../knn/bank.js").Stored[]>} */
  load(after = 0) {
    return this.#ask("load", after);
  }

  /** @returns {Promise<string[]>} */
  check() {
    return this.#ask("check");
  }

  /** @returns {Promise<Uint8Array<ArrayBuffer>>} */
  exportFile() {
    return this.#ask("exportFile");
  }

  /** @param {Uint8Array} bytes @returns {Promise<Map<string, number>>} */
  importFile(bytes) {
    return this.#ask("importFile", bytes);
  }

  /** Close the file and let another tab have it. */
  async close() {
    await this.#ask("close");
    this.end();
  }

  /** Let the worker and the lock go, whatever it does. */
  end() {
    this.worker.terminate();
    this.letGo();
  }

  /**
   * @param {string} name
   * @returns {Promise<void>}
   */
  #lock(name) {
    if (navigator.locks === undefined) {
      return Promise.reject(
        new errors.GalleryError("the page must come over https (or from this machine) to keep what it learns"),
      );
    }
    return new Promise((resolve, reject) => {
      navigator.locks
        .request(name, { ifAvailable: true }, (lock) => {
          if (lock === null) {
            reject(new errors.GalleryError("another tab has the gallery open; close it and reload this one"));
            return undefined;
          }
          resolve();
          return new Promise((done) => {
            this.letGo = () => done(undefined);
          });
        })
        .catch(reject);
    });
  }

  /**
   * @param {string} method
   * @param {unknown[]} args
   * @returns {Promise<any>}
   */
  #ask(method, ...args) {
    const id = ++this.latest;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, method, args });
    });
  }
}
