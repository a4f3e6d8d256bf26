/** The engine: the model in a worker, which prepares images too. */

import { EngineError } from "../errors.js";

/** @typedef {import("../bundle/bundle.js").Bundle} Bundle */
/** @typedef {import("../images/load.js").Decoded} Decoded */
/** @typedef {{probabilities: Float32Array, embedding: Float32Array}} Outputs */

/** A model that is loaded; both its outputs are float32. */
export class Engine {
  /**
   * @param {Worker} worker
   * @param {import("../bundle/manifest.js").Preprocessing} spec
   * @param {import("../bundle/manifest.js").ModelFile} model
   */
  constructor(worker, spec, model) {
    this.name = "LiteRT.js";
    this.model = model;
    this.spec = spec;
    this.worker = worker;
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    this.waiting = new Map();
    this.latest = 0;
    worker.onmessage = ({ data }) => this.#settle(data);
    worker.onerror = (event) => this.#fail(event.message || "the engine's worker cannot be loaded");
  }

  /**
   * Load the bundle's TFLite file, checked by its hash.
   * @param {Bundle} bundle
   * @param {URL} lib the folder with `litert/`
   * @returns {Promise<Engine>}
   * @throws {EngineError} this browser cannot run it
   */
  static async open(bundle, lib) {
    const model = bundle.manifest.models.find((one) => one.format === "tflite");
    if (model === undefined) throw new EngineError("the bundle has no TFLite file; build it with --target web");
    const bytes = await bundle.read(model.file);
    const worker = new Worker(new URL("./engine_worker.js", import.meta.url));
    const engine = new Engine(worker, bundle.manifest.preprocessing, model);
    try {
      await engine.#ask({ kind: "open", model: bytes, lib: lib.href }, [bytes.buffer]);
    } catch (error) {
      engine.close();
      throw new EngineError(
        `this browser cannot run the model (${/** @type {Error} */ (error).message}); try a newer one`,
      );
    }
    return engine;
  }

  /**
   * Bring an image to the model's input.
   * @param {Decoded} image used up, if it is no ImageData
   * @returns {Promise<Uint8Array>} [height, width, channels]
   */
  prepare(image) {
    return this.#ask({ kind: "prepare", image, spec: this.spec }, image instanceof ImageData ? [] : [image]);
  }

  /**
   * Run the model.
   * @param {Uint8Array} pixels [height, width, channels]
   * @returns {Promise<Outputs>}
   */
  run(pixels) {
    return this.#ask({ kind: "run", pixels, spec: this.spec }, []);
  }

  /**
   * Bring an image to the model's input and run the model, at one go.
   * @param {Decoded} image used up, if it is no ImageData
   * @returns {Promise<Outputs>}
   */
  answer(image) {
    return this.#ask({ kind: "answer", image, spec: this.spec }, image instanceof ImageData ? [] : [image]);
  }

  /** Let the worker go. */
  close() {
    this.worker.terminate();
    this.#fail("the engine was closed");
  }

  /**
   * @param {Record<string, unknown>} request
   * @param {Transferable[]} transfer
   * @returns {Promise<any>}
   */
  #ask(request, transfer) {
    const id = ++this.latest;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, ...request }, transfer);
    });
  }

  /** @param {{id: number, value?: unknown, error?: string}} answer */
  #settle({ id, value, error }) {
    const asked = this.waiting.get(id);
    this.waiting.delete(id);
    if (error === undefined) asked?.resolve(value);
    else asked?.reject(new EngineError(error));
  }

  /** @param {string} message */
  #fail(message) {
    for (const { reject } of this.waiting.values()) reject(new EngineError(message));
    this.waiting.clear();
  }
}
