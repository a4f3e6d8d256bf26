/**
 * Images in, uint8 pixels out: the same preprocessing as `tlc` on a computer.
 *
 * Decoding is the browser's, without colour conversion and without premultiplied alpha: the pixels are then those of
 * Pillow. Orientation is applied by the browser already. Flattening and resizing are ours.
 */

import { ImageError } from "../errors.js";
import { leavesWebp, readTold, upright } from "./files.js";
import { copyFrame, frameOf } from "./frames.js";
import { resize } from "./resize.js";
import { Resizer } from "./resize_simd.js";

/** @typedef {import("../bundle/manifest.js").Preprocessing} Preprocessing */
/** @typedef {Blob | ImageData | ImageBitmap | HTMLVideoElement | HTMLCanvasElement | HTMLImageElement} Source */
/** @typedef {ImageBitmap | ImageData | VideoFrame} Decoded */

/** Pixels of a canvas that is kept for the next image: a camera's, not a photo's. */
const MOST_KEPT = 4_000_000;
/** What a browser leaves of 16 bits of which twelve are used. */
const DARK = 16;
/** Null where the browser has no SIMD, undefined before the first image. @type {Resizer | null | undefined} */
let resizer;
/** The canvas of the latest size. @type {OffscreenCanvasRenderingContext2D | null} */
let canvas = null;

/**
 * Return an image as the browser decodes it, its colours untouched.
 * @param {Source} source a file, a frame, or a picture on the page
 * @returns {Promise<Decoded>}
 * @throws {ImageError} it cannot be read
 */
export async function decode(source) {
  if (source instanceof ImageData || source instanceof ImageBitmap) return source;
  const name = source instanceof File ? source.name : "the picture";
  try {
    const frame = "videoWidth" in source ? frameOf(source) : null;
    if (frame !== null) return frame;
    const image = await createImageBitmap(source, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    return source instanceof Blob ? await asTold(image, source, name) : image;
  } catch (e) {
    if (e instanceof ImageError) throw e;
    throw new ImageError(`${name} cannot be read here; use a JPEG, PNG or WebP picture`);
  }
}

/**
 * Return a file's picture as `tlc` on a computer sees it, turned as the file says, where the browser does not.
 * @param {ImageBitmap} image
 * @param {Blob} file
 * @param {string} name
 * @returns {Promise<ImageBitmap | ImageData>}
 * @throws {ImageError} what the browser leaves of it is not what is in it
 */
async function asTold(image, file, name) {
  const { hasAlpha, isDeep, orientation } = await readTold(file);
  const turns = orientation !== 1 && (await leavesWebp());
  if (!hasAlpha && !isDeep && !turns) return image;
  const pixels = readBack(image);
  if (hasAlpha && isTransparent(pixels.data))
    throw new ImageError(`${name} is transparent everywhere, and a browser shows nothing of it; save it without`);
  if (isDeep && isDark(pixels.data))
    throw new ImageError(`${name} has 16 bits and uses few of them, and a browser shows it black; save it with 8 bits`);
  if (!turns) return image;
  image.close();
  return upright(pixels, orientation);
}

/**
 * Return an image as the model's input.
 * @param {Decoded} image
 * @param {Preprocessing} spec
 * @returns {Promise<Uint8Array<ArrayBuffer>>} [height, width, channels]
 */
export async function prepare(image, spec) {
  if (resizer === undefined) resizer = Resizer.open();
  if (!("displayWidth" in image)) {
    const { data, width, height } = image instanceof ImageData ? image : readBack(image);
    return prepareRgba(data, { width, height }, spec, resizer);
  }
  const size = { width: image.displayWidth, height: image.displayHeight };
  if (resizer === null || spec.channels === 1) {
    const rgba = new Uint8Array(4 * size.width * size.height);
    await copyFrame(image, rgba);
    return prepareRgba(rgba, size, spec, resizer);
  }
  await copyFrame(image, resizer.room(size));
  return unpadded(resizer.resize(size, spec, spec.passes), spec.channels);
}

/**
 * Return RGBA pixels as the model's input.
 * @param {Uint8Array | Uint8ClampedArray} rgba
 * @param {{width: number, height: number}} size
 * @param {Preprocessing} spec
 * @param {Resizer | null} simd what resizes; null is plain JavaScript, and the same to the byte
 * @returns {Uint8Array<ArrayBuffer>} [height, width, channels]
 */
export function prepareRgba(rgba, size, spec, simd) {
  const { channels, passes } = spec;
  if (simd === null) return new Uint8Array(resize(flatten(rgba, spec), size, spec, channels, passes));
  const room = simd.room(size);
  if (channels === 3 && isOpaque(rgba)) room.set(rgba);
  else pad(flatten(rgba, spec), channels, room);
  return unpadded(simd.resize(size, spec, passes), channels);
}

/**
 * Return a file's pixels as they are.
 * @param {Blob} file
 * @returns {Promise<{pixels: Uint8Array<ArrayBuffer>, width: number, height: number, channels: 3}>} [height, width, 3]
 * @throws {ImageError} it cannot be read
 */
export async function readRgb(file) {
  const image = /** @type {ImageBitmap | ImageData} */ (await decode(file));
  const { data, width, height } = image instanceof ImageData ? image : readBack(image);
  if (image instanceof ImageBitmap) image.close();
  const pixels = flatten(data, { channels: 3, background: [255, 255, 255] });
  return { pixels, width, height, channels: 3 };
}

/**
 * @param {ImageBitmap} image
 * @returns {ImageData}
 */
function readBack(image) {
  const { width, height } = image;
  if (canvas?.canvas.width !== width || canvas.canvas.height !== height) {
    canvas = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    if (canvas === null) throw new ImageError("this browser gives no canvas to read pictures with");
    // Also what is transparent takes the place of the image before.
    canvas.globalCompositeOperation = "copy";
  }
  canvas.drawImage(image, 0, 0);
  const pixels = canvas.getImageData(0, 0, width, height);
  if (width * height > MOST_KEPT) canvas = null;
  return pixels;
}

/**
 * Write pixels of one or three channels as RGBA, as the kernels take them.
 * @param {Uint8Array} pixels
 * @param {number} channels
 * @param {Uint8Array} rgba
 */
function pad(pixels, channels, rgba) {
  for (let from = 0, to = 0; from < pixels.length; from += channels, to += 4) {
    for (let c = 0; c < channels; c++) rgba[to + c] = pixels[from + c];
  }
}

/**
 * @param {Uint8Array} rgba
 * @param {number} channels
 * @returns {Uint8Array<ArrayBuffer>}
 */
function unpadded(rgba, channels) {
  const pixels = new Uint8Array((rgba.length / 4) * channels);
  for (let from = 0, to = 0; to < pixels.length; from += 4, to += channels) {
    for (let c = 0; c < channels; c++) pixels[to + c] = rgba[from + c];
  }
  return pixels;
}

/**
 * Return RGB or grey pixels of RGBA ones, transparent parts laid over the background, as Pillow's paste does.
 * @param {Uint8Array | Uint8ClampedArray} rgba
 * @param {Pick<Preprocessing, "channels" | "background">} spec
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
 * @param {Uint8Array | Uint8ClampedArray} rgba
 * @returns {boolean}
 */
function isOpaque(rgba) {
  for (let i = 3; i < rgba.length; i += 4) if (rgba[i] !== 255) return false;
  return true;
}

/**
 * @param {Uint8ClampedArray} rgba
 * @returns {boolean}
 */
function isTransparent(rgba) {
  for (let i = 3; i < rgba.length; i += 4) if (rgba[i] !== 0) return false;
  return true;
}

/**
 * @param {Uint8ClampedArray} rgba
 * @returns {boolean}
 */
function isDark(rgba) {
  for (let i = 0; i < rgba.length; i += 4) {
    if (rgba[i] > DARK || rgba[i + 1] > DARK || rgba[i + 2] > DARK) return false;
  }
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
