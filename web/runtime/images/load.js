/**
 * Images in, uint8 pixels out: the same preprocessing as `tlc` on a computer.
 *
 * Decoding is the browser's, without colour conversion and without premultiplied alpha: the pixels are then those of
 * Pillow. Orientation is applied by the browser already. Flattening and resizing are ours.
 */

import { ImageError } from "../errors.js";
import { resize } from "./resize.js";

/** @typedef {import("../bundle/manifest.js").Preprocessing} Preprocessing */
/** @typedef {Blob | ImageData | ImageBitmap | HTMLVideoElement | HTMLCanvasElement | HTMLImageElement} Source */

/**
 * Return an image as the browser decodes it, its colours untouched.
 * @param {Source} source a file, a frame, or a picture on the page
 * @returns {Promise<ImageBitmap | ImageData>}
 * @throws {ImageError} it cannot be read
 */
export async function decode(source) {
  if (source instanceof ImageData || source instanceof ImageBitmap) return source;
  try {
    return await createImageBitmap(source, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    const name = source instanceof File ? source.name : "the picture";
    throw new ImageError(`${name} cannot be read here; use a JPEG, PNG or WebP picture`);
  }
}

/**
 * Return an image as the model's input.
 * @param {ImageBitmap | ImageData} image
 * @param {Preprocessing} spec
 * @returns {Uint8Array<ArrayBuffer>} [height, width, channels]
 */
export function prepare(image, spec) {
  const { data, width, height } = image instanceof ImageData ? image : readBack(image);
  const flat = flatten(data, spec);
  const to = { width: spec.width, height: spec.height };
  const pixels = resize(flat, { width, height }, to, spec.channels, spec.passes);
  return new Uint8Array(pixels);
}

/**
 * @param {ImageBitmap} image
 * @returns {ImageData}
 */
function readBack(image) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (context === null) throw new ImageError("this browser gives no canvas to read pictures with");
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height);
}

/**
 * Return RGB or grey pixels of RGBA ones, transparent parts laid over the background, as Pillow's paste does.
 * @param {Uint8ClampedArray} rgba
 * @param {Preprocessing} spec
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function flatten(rgba, spec) {
  const { channels, background } = spec;
  const count = rgba.length / 4;
  const out = new Uint8Array(count * channels);
  if (channels === 3 && isOpaque(rgba)) {
    for (let from = 0, to = 0; to < out.length; from += 4, to += 3) {
      out[to] = rgba[from];
      out[to + 1] = rgba[from + 1];
      out[to + 2] = rgba[from + 2];
    }
    return out;
  }
  const colour = [0, 0, 0];
  for (let i = 0, from = 0, to = 0; i < count; i++, from += 4) {
    const alpha = rgba[from + 3];
    for (let c = 0; c < 3; c++) {
      colour[c] = alpha === 255 ? rgba[from + c] : over(rgba[from + c], background[c], alpha);
    }
    if (channels === 3) {
      out[to++] = colour[0];
      out[to++] = colour[1];
      out[to++] = colour[2];
    } else {
      // ITU-R 601-2, in Pillow's fixed-point arithmetic.
      out[to++] = (colour[0] * 19595 + colour[1] * 38470 + colour[2] * 7471 + 0x8000) >> 16;
    }
  }
  return out;
}

/**
 * @param {Uint8ClampedArray} rgba
 * @returns {boolean}
 */
function isOpaque(rgba) {
  for (let i = 3; i < rgba.length; i += 4) if (rgba[i] !== 255) return false;
  return true;
}

/**
 * @param {number} above
 * @param {number} below
 * @param {number} alpha
 * @returns {number}
 */
function over(above, below, alpha) {
  const sum = above * alpha + below * (255 - alpha) + 128;
  return ((sum >> 8) + sum) >> 8;
}
