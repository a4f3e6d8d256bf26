/** Pictures on their way to a device: as the model sees them, which is small, whatever the camera gives. */

import { ImageError } from "../runtime/errors.js";
import { decode } from "../runtime/images/load.js";

/** @typedef {import("../runtime/images/load.js").Source} Source */
/** @typedef {import("../runtime/images/load.js").Preprocessing} Preprocessing */

/** Makes them, in a worker. */
export class Pictures {
  /** @param {Preprocessing} spec */
  constructor(spec) {
    this.spec = spec;
    /** @type {Map<number, {resolve: (picture: Blob) => void, reject: (error: Error) => void}>} */
    this.waiting = new Map();
    this.latest = 0;
    this.worker = new Worker(new URL("./picture_worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data: { id, value, error } }) => {
      const asked = this.waiting.get(id);
      this.waiting.delete(id);
      if (error === undefined) asked?.resolve(value);
      else asked?.reject(new ImageError(error));
    };
    this.worker.onerror = (event) => {
      for (const { reject } of this.waiting.values())
        reject(new ImageError(event.message || "the worker for pictures cannot be loaded"));
      this.waiting.clear();
    };
  }

  /**
   * Return a picture to send: PNG at the model's input size. A file that this browser cannot read goes as it is: perhaps
   * the device can.
   * @param {Source} source
   * @returns {Promise<Blob>}
   * @throws {ImageError} a frame cannot be read
   */
  async make(source) {
    let image;
    try {
      image = await decode(source);
    } catch (error) {
      if (source instanceof Blob) return source;
      throw error;
    }
    const id = ++this.latest;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, image, spec: this.spec }, image instanceof ImageData ? [] : [image]);
    });
  }
}
