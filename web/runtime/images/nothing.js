/** Images with nothing on them: they teach a class that is no thing. */

import { BOX, resize } from "./resize.js";

const SIDE = 16;
/** Levels of the areas' means that say nothing. */
const SPREAD = 1;

/**
 * Whether the means of the areas of an image are all the same.
 * @param {Uint8Array} pixels [height, width, channels]
 * @param {{width: number, height: number, channels: number}} shape
 * @returns {boolean}
 */
export function isOneColour(pixels, shape) {
  const { channels } = shape;
  const image = [shape.width, shape.height].every((side) => side % (2 * SIDE) === 0)
    ? everySecond(pixels, shape) // enough for a mean
    : { pixels, width: shape.width, height: shape.height };
  const small = resize(image.pixels, image, { width: SIDE, height: SIDE }, channels, "", BOX);
  for (let c = 0; c < channels; c++) {
    const levels = small.filter((_, i) => i % channels === c);
    if (Math.max(...levels) - Math.min(...levels) > SPREAD) return false;
  }
  return true;
}

/**
 * @param {Uint8Array} pixels
 * @param {{width: number, height: number, channels: number}} shape
 */
function everySecond(pixels, { width, height, channels }) {
  const found = new Uint8Array(pixels.length / 4);
  for (let y = 0, to = 0; y < height; y += 2) {
    for (let x = 0; x < width; x += 2) {
      for (let c = 0; c < channels; c++) found[to++] = pixels[(y * width + x) * channels + c];
    }
  }
  return { pixels: found, width: width / 2, height: height / 2 };
}
