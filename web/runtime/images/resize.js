/**
 * Pillow's anti-aliased bilinear filter, in its own fixed-point arithmetic: for equal pixels in, equal bytes out.
 *
 * Two passes, each rounded to bytes. Coefficients are made in float64 and scaled to integers of 22 bits; a pass sums
 * their products with the pixels from half a unit on and shifts. Bilinear coefficients are not negative and sum to
 * about 1, so nothing has to be clipped. A pass that changes no size is left out.
 */

const BITS = 22;

/**
 * What each pixel of one side is made of.
 * @typedef {{starts: Int32Array, counts: Int32Array, weights: Int32Array, taps: number}} Taps
 */

/**
 * How far a filter reaches on each side, and what a pixel at a distance weighs, in pixels of the smaller image.
 * @typedef {{support: number, weight: (distance: number) => number}} Filter
 */

/** @type {Filter} */
const BILINEAR = { support: 1, weight: (distance) => Math.max(0, 1 - Math.abs(distance)) };
/** The mean of an area. @type {Filter} */
export const BOX = { support: 0.5, weight: (distance) => (distance > -0.5 && distance <= 0.5 ? 1 : 0) };

/**
 * Resize interleaved pixels of 8 bits to another size.
 *
 * @param {Uint8Array | Uint8ClampedArray} pixels [height, width, channels]
 * @param {{width: number, height: number}} from
 * @param {{width: number, height: number}} to
 * @param {number} channels
 * @param {string} passes which comes first, as the manifest's `preprocessing.passes` says
 * @param {Filter} filter
 * @returns {Uint8Array} [to.height, to.width, channels]
 */
export function resize(pixels, from, to, channels, passes, filter = BILINEAR) {
  if (isVerticalFirst(from, to, passes)) {
    return horizontally(
      vertically(pixels, from, to.height, channels, filter),
      { width: from.width, height: to.height },
      to.width,
      channels,
      filter,
    );
  }
  return vertically(
    horizontally(pixels, from, to.width, channels, filter),
    { width: to.width, height: from.height },
    to.height,
    channels,
    filter,
  );
}

/**
 * @param {{width: number, height: number}} from
 * @param {{width: number, height: number}} to
 * @param {string} passes
 * @returns {boolean}
 */
export function isVerticalFirst(from, to, passes) {
  return passes !== "" && from.height > to.height && from.height - to.height > 2 * (from.width - to.width);
}

/**
 * @param {number} from
 * @param {number} to
 * @param {Filter} filter
 * @returns {Taps}
 */
export function tapsOf(from, to, filter = BILINEAR) {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const support = filter.support * stretch;
  const taps = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(to);
  const counts = new Int32Array(to);
  const weights = new Int32Array(to * taps);
  const window = new Float64Array(taps);
  for (let i = 0; i < to; i++) {
    const center = (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - support + 0.5));
    const count = Math.min(from, Math.trunc(center + support + 0.5)) - start;
    let sum = 0;
    for (let k = 0; k < count; k++) {
      window[k] = filter.weight((k + start - center + 0.5) * (1 / stretch));
      sum += window[k];
    }
    starts[i] = start;
    counts[i] = count;
    for (let k = 0; k < count; k++) {
      const weight = sum === 0 ? window[k] : window[k] / sum;
      weights[i * taps + k] = Math.trunc(weight * (1 << BITS) + 0.5);
    }
  }
  return { starts, counts, weights, taps };
}

/**
 * @param {Uint8Array | Uint8ClampedArray} pixels
 * @param {{width: number, height: number}} from
 * @param {number} width
 * @param {number} channels
 * @param {Filter} filter
 * @returns {Uint8Array}
 */
function horizontally(pixels, from, width, channels, filter) {
  if (width === from.width) return new Uint8Array(pixels.buffer, pixels.byteOffset, pixels.length);
  const across = tapsOf(from.width, width, filter);
  const out = new Uint8Array(width * from.height * channels);
  for (let y = 0; y < from.height; y++) {
    const row = pixels.subarray(y * from.width * channels, (y + 1) * from.width * channels);
    const to = out.subarray(y * width * channels, (y + 1) * width * channels);
    if (channels === 3) colourRow(row, across, to);
    else greyRow(row, across, to);
  }
  return out;
}

/**
 * @param {Uint8Array | Uint8ClampedArray} row
 * @param {Taps} across
 * @param {Uint8Array} out
 */
function colourRow(row, { starts, counts, weights, taps }, out) {
  for (let x = 0, at = 0; x < starts.length; x++, at += 3) {
    let red = 1 << (BITS - 1);
    let green = red;
    let blue = red;
    const end = x * taps + counts[x];
    for (let k = x * taps, p = starts[x] * 3; k < end; k++, p += 3) {
      const weight = weights[k];
      red += Math.imul(row[p], weight);
      green += Math.imul(row[p + 1], weight);
      blue += Math.imul(row[p + 2], weight);
    }
    out[at] = red >> BITS;
    out[at + 1] = green >> BITS;
    out[at + 2] = blue >> BITS;
  }
}

/**
 * @param {Uint8Array | Uint8ClampedArray} row
 * @param {Taps} across
 * @param {Uint8Array} out
 */
function greyRow(row, { starts, counts, weights, taps }, out) {
  for (let x = 0; x < starts.length; x++) {
    let sum = 1 << (BITS - 1);
    for (let k = 0; k < counts[x]; k++) sum += Math.imul(row[starts[x] + k], weights[x * taps + k]);
    out[x] = sum >> BITS;
  }
}

/**
 * @param {Uint8Array | Uint8ClampedArray} pixels
 * @param {{width: number, height: number}} from
 * @param {number} height
 * @param {number} channels
 * @param {Filter} filter
 * @returns {Uint8Array}
 */
function vertically(pixels, from, height, channels, filter) {
  if (height === from.height) return new Uint8Array(pixels.buffer, pixels.byteOffset, pixels.length);
  const { starts, counts, weights, taps } = tapsOf(from.height, height, filter);
  const row = from.width * channels;
  const out = new Uint8Array(height * row);
  const sums = new Int32Array(row);
  for (let y = 0; y < height; y++) {
    sums.fill(1 << (BITS - 1));
    // Row by row, in the order of memory.
    for (let k = 0; k < counts[y]; k++) {
      const weight = weights[y * taps + k];
      const first = (starts[y] + k) * row;
      for (let i = 0; i < row; i++) sums[i] += Math.imul(pixels[first + i], weight);
    }
    for (let i = 0; i < row; i++) out[y * row + i] = sums[i] >> BITS;
  }
  return out;
}
