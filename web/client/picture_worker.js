/** Brings pictures to the model's input, off the page's own thread, and packs them as PNG. */

import { prepare } from "../runtime/images/load.js";

/** @typedef {import("../runtime/images/load.js").Preprocessing} Preprocessing */

/** @type {Promise<unknown>} */
let before = Promise.resolve();

self.onmessage = ({ data }) => {
  // One after the other: what resizes has room for one image.
  before = before.then(() => answer(data));
};

/** @param {{id: number, image: import("../runtime/images/load.js").Decoded, spec: Preprocessing}} request */
async function answer({ id, image, spec }) {
  try {
    self.postMessage({ id, value: await packed(image, spec) });
  } catch (error) {
    self.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  } finally {
    if (!(image instanceof ImageData)) image.close();
  }
}

/**
 * Return a picture as the model sees it. PNG loses nothing, so the device gets these very pixels, and has none to resize.
 * @param {import("../runtime/images/load.js").Decoded} image
 * @param {Preprocessing} spec
 * @returns {Promise<Blob>}
 */
async function packed(image, spec) {
  const pixels = await prepare(image, spec);
  const { width, height, channels } = spec;
  const seen = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    // Equal red, green and blue are grey again on the device, to the bit.
    for (let c = 0; c < 3; c++) seen.data[4 * i + c] = pixels[channels * i + (channels === 3 ? c : 0)];
    seen.data[4 * i + 3] = 255;
  }
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d")?.putImageData(seen, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
