/**
 * Which examples of a class can go so that those that stay still cover it: every time that one whose going moves the
 * fewest examples the least, by the number it stands for and its distance to its nearest neighbour, which then stands
 * for them too.
 */

import { dot } from "../vectors.js";

/** Examples of a class compared at once; a larger class is thinned run by run, in the order of enrolment. */
export const RUN = 1024;

/**
 * Return which `count` of the unit rows go, in order, each with the row that takes over from it. At least one stays; of
 * equals the earlier goes.
 * @param {Float32Array[]} unit [N][D]
 * @param {number[]} standsFor [N]
 * @param {number} count
 * @returns {[number, number][]}
 */
export function giveWay(unit, standsFor, count) {
  const size = unit.length;
  const weights = [...standsFor];
  const similar = unit.map((row, i) => Float32Array.from(unit, (other, j) => (i === j ? -Infinity : dot(row, other))));
  const heirs = similar.map(highest);
  /** @type {[number, number][]} */
  const gone = [];
  for (let n = 0; n < Math.min(count, size - 1); n++) {
    let row = 0;
    let least = Infinity;
    for (let i = 0; i < size; i++) {
      const cost = weights[i] * Math.max(1 - similar[i][heirs[i]], 1e-9);
      if (cost < least) {
        least = cost;
        row = i;
      }
    }
    const heir = heirs[row];
    gone.push([row, heir]);
    weights[heir] += weights[row];
    weights[row] = Infinity;
    similar[row].fill(-Infinity);
    for (const other of similar) other[row] = -Infinity;
    heirs.forEach((one, i) => {
      if (one === row) heirs[i] = highest(similar[i]);
    });
  }
  return gone;
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
 * @param {Float32Array} values
 * @returns {number} the index of the highest, the first of equals
 */
function highest(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}
