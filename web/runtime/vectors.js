/** Embeddings as stored: int8 rows with a scale each, and their unit-length float form for search. */

/**
 * The integer nearest to a number, of two equally near ones the even, as numpy's `rint`.
 * @param {number} x
 * @returns {number}
 */
export function rint(x) {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest < 0.5 || (rest === 0.5 && floor % 2 === 0)) return floor;
  return floor + 1;
}

/**
 * Return one embedding as int8 [D] and the scale that gives it back (`row * scale`).
 * @param {Float32Array} vector [D]
 * @returns {{row: Int8Array, scale: number}}
 * @throws {RangeError} it is not finite or all zero, so it has no direction to store
 */
export function quantizeRow(vector) {
  let largest = 0;
  for (const value of vector) {
    if (!Number.isFinite(value)) throw new RangeError("an embedding must be finite and not all zero");
    largest = Math.max(largest, Math.abs(value));
  }
  if (largest < 1e-30) throw new RangeError("an embedding must be finite and not all zero");
  const scale = largest / 127;
  // numpy divides in float32: the scale is rounded to one first.
  const divisor = Math.fround(scale);
  const row = Int8Array.from(vector, (value) => rint(Math.fround(value / divisor)));
  return { row, scale };
}

/**
 * The lengths of rows [N, D], float32.
 * @param {Int8Array | Float32Array} rows
 * @param {number} width D
 * @returns {Float32Array} [N]
 */
export function rowLengths(rows, width) {
  const lengths = new Float32Array(rows.length / width);
  for (let i = 0; i < lengths.length; i++) {
    let squared = 0;
    for (let j = i * width; j < (i + 1) * width; j++) squared += rows[j] * rows[j];
    lengths[i] = Math.sqrt(squared);
  }
  return lengths;
}

/**
 * Rows [N, D] divided by their length, float32; an all-zero row stays zero.
 *
 * For int8 rows the length is that of the int8 row itself: the cosine is then right whatever the row's scale.
 * @param {Int8Array | Float32Array} rows
 * @param {number} width D
 * @returns {{unit: Float32Array, lengths: Float32Array}}
 */
export function unitRows(rows, width) {
  const lengths = rowLengths(rows, width);
  const unit = Float32Array.from(rows);
  for (let i = 0; i < lengths.length; i++) {
    const length = lengths[i] || 1;
    for (let j = i * width; j < (i + 1) * width; j++) unit[j] /= length;
  }
  return { unit, lengths };
}

/**
 * The product of two vectors, summed in float64.
 * @param {ArrayLike<number>} a [D]
 * @param {ArrayLike<number>} b [D]
 * @returns {number}
 */
export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
