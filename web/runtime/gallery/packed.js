/** An example as the file keeps it: an int8 vector with its scale, and the check sums that tell of damage. */

import { GalleryError } from "../errors.js";
import { quantizeRow } from "../vectors.js";

/**
 * Where an example comes from: the SHA-256 of its image (64 hexadecimal digits), its name, a small JPEG.
 * @typedef {{sha256: string, name: string, thumbnail: Uint8Array | null}} ExampleSource
 *
 * An example on its way into the file.
 * @typedef {{source: ExampleSource, vector: Uint8Array, scale: number}} Packed
 */

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

/**
 * Return the CRC-32 of bytes; `before` is that of those that came before them.
 * @param {Uint8Array} bytes
 * @param {number} before
 * @returns {number}
 */
export function crc32(bytes, before = 0) {
  let crc = ~before;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/**
 * Return the CRC-32 of all that never changes.
 * @param {Uint8Array} vector
 * @param {number} scale
 * @param {string[]} texts
 * @returns {number}
 */
export function rowCrc(vector, scale, ...texts) {
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, scale, true);
  return crc32(new TextEncoder().encode(texts.join("\n")), crc32(new Uint8Array(bits.buffer), crc32(vector)));
}

/**
 * Return the examples as they are stored.
 * @param {Float32Array[]} vectors [n][D]
 * @param {ExampleSource[]} sources [n]
 * @param {number} width D
 * @returns {Packed[]}
 * @throws {GalleryError} a vector is not finite or all zero
 */
export function pack(vectors, sources, width) {
  return vectors.map((vector, i) => {
    const source = sources[i];
    if (vector.length !== width) throw new RangeError(`a vector has width ${vector.length}, expected ${width}`);
    if (!/^[0-9a-f]{64}$/.test(source.sha256)) throw new RangeError("not a SHA-256 in lower-case hexadecimal digits");
    try {
      const { row, scale } = quantizeRow(vector);
      return { source, vector: new Uint8Array(row.buffer), scale };
    } catch (error) {
      throw new GalleryError(`${source.name}: ${/** @type {Error} */ (error).message}; nothing was enrolled`);
    }
  });
}
