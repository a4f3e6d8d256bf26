/**
 * Which examples of a class become one, so that those that stay say as much as all of them did: the two whose becoming
 * one moves the examples they speak for the least, again and again. Of rows that speak for n and m examples, the cost is
 * n m / (n + m) · (1 - cosine). What comes of them is their mean by number.
 */

import { dot, unitRows } from "../vectors.js";

/** Examples of a class compared at once; a larger class is thinned run by run, in the order of enrolment. */
export const RUN = 1024;

/** Nearer than this is the same: the roundings of two runtimes must not decide who goes first. */
const ALIKE = 1e-6;

/**
 * Return which of the unit rows become one, so that there are `count` fewer; single rows are left out. At least one row
 * stays; of equals the earlier pair goes first. The rows of a group ascend.
 * @param {Float32Array[]} unit [N][D]
 * @param {number[]} standsFor [N]
 * @param {number} count
 * @returns {number[][]}
 */
export function groups(unit, standsFor, count) {
  const size = unit.length;
  const weights = [...standsFor];
  const members = unit.map((_, row) => [row]);
  const middle = [...unit];
  const sums = unit.map((row, i) => Float64Array.from(row, (value) => value * weights[i]));
  const cost = (/** @type {number} */ i, /** @type {number} */ j) =>
    ((weights[i] * weights[j]) / (weights[i] + weights[j])) * Math.max(1 - dot(middle[i], middle[j]), ALIKE);
  const costs = unit.map(() => new Float64Array(size).fill(Infinity));
  for (let i = 0; i < size; i++) for (let j = i + 1; j < size; j++) costs[i][j] = costs[j][i] = cost(i, j);
  const nearest = costs.map(lowest);
  for (let n = 0; n < Math.min(count, size - 1); n++) {
    const row = lowest(nearest.map((other, i) => costs[i][other]));
    const other = nearest[row];
    members[row].push(...members[other]);
    members[other] = [];
    for (let k = 0; k < sums[row].length; k++) sums[row][k] += sums[other][k];
    weights[row] += weights[other];
    const length = Math.sqrt(dot(sums[row], sums[row])) || 1;
    middle[row] = Float32Array.from(sums[row], (value) => value / length);
    for (let i = 0; i < size; i++) {
      costs[other][i] = costs[i][other] = Infinity;
      costs[row][i] = costs[i][row] = i === row || !members[i].length ? Infinity : cost(row, i);
    }
    for (let i = 0; i < size; i++) {
      if (i === row || nearest[i] === row || nearest[i] === other) nearest[i] = lowest(costs[i]);
      else if (costs[i][row] < costs[i][nearest[i]]) nearest[i] = row;
    }
  }
  return members.filter((rows) => rows.length > 1).map((rows) => rows.sort((a, b) => a - b));
}

/**
 * Return what rows become: a vector, and how many examples it is the mean of. Its direction is that of the sum of the
 * unit rows, its length the mean of their lengths; summed one row after the other, so that every runtime comes to the
 * same bits.
 * @param {{vector: Int8Array, scale: number, standsFor: number}[]} rows
 * @returns {{vector: Float32Array, standsFor: number}}
 */
export function meanOf(rows) {
  const total = new Float64Array(rows[0].vector.length);
  let reach = 0;
  let number = 0;
  for (const { vector, scale, standsFor } of rows) {
    const length = Math.sqrt(dot(vector, vector)); // of whole numbers: exact before the root
    const part = standsFor / (length || 1);
    for (let j = 0; j < total.length; j++) total[j] += vector[j] * part;
    reach += standsFor * length * scale;
    number += standsFor;
  }
  let size = Math.sqrt(dot(total, total));
  if (size < 1e-9 * number) {
    // They point apart and leave no direction: the first has its own.
    total.set(rows[0].vector);
    size = Math.sqrt(dot(total, total)) || 1;
  }
  const factor = reach / number / size;
  return { vector: Float32Array.from(total, (value) => value * factor), standsFor: number };
}

/**
 * Return stored rows as unit rows.
 * @param {Int8Array[]} vectors
 * @returns {Float32Array[]}
 */
export function unitOf(vectors) {
  return vectors.map((vector) => unitRows(vector, vector.length).unit);
}

/**
 * Return the runs of a class of `size`, and how many of `count` go from each; `turn` says who comes first.
 * @param {number} size
 * @param {number} count
 * @param {number} turn
 * @returns {{start: number, end: number, share: number}[]}
 */
export function runs(size, count, turn) {
  const pieces = Math.ceil(size / RUN);
  const border = (/** @type {number} */ i) => Math.floor((size * i) / pieces);
  const found = Array.from({ length: pieces }, (_, i) => {
    const start = border(i);
    const end = border(i + 1);
    return { start, end, share: Math.floor((count * (end - start)) / size) };
  });
  const given = found.reduce((sum, { share }) => sum + share, 0);
  for (let i = 0; i < count - given; i++) found[(turn + i) % pieces].share++;
  return found;
}

/**
 * @param {ArrayLike<number>} values
 * @returns {number} the index of the lowest, the first of equals
 */
function lowest(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] < values[best]) best = i;
  return best;
}
