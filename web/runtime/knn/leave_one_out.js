/** How near the enrolled examples are to the others of their class. */

import { dot } from "../vectors.js";

/** Examples of a class to judge it by; beyond, their number would cost more than it tells. */
export const ENOUGH = 200;

/**
 * Each enrolled row's cosine to the nearest other row of its class, itself left out, one array per class. Of a class
 * with more than ENOUGH rows every second one counts, then every fourth, and so on. Rows alone in their class give none.
 * @param {Map<number, number[]>} members the rows of each class
 * @param {(row: number) => Float32Array} take gives a row of unit length
 * @returns {Float32Array[]}
 */
export function leaveOneOut(members, take) {
  const scores = [];
  for (const rows of members.values()) {
    const step = stride(rows.length);
    const sample = rows.filter((_, i) => i % step === 0).map(take);
    if (rows.length > 1 && sample.length > 1) scores.push(nearestOther(sample));
  }
  return scores;
}

/**
 * @param {Float32Array[]} sample
 * @returns {Float32Array}
 */
function nearestOther(sample) {
  const best = new Float32Array(sample.length).fill(-1);
  for (let i = 0; i < sample.length; i++) {
    for (let j = i + 1; j < sample.length; j++) {
      const similar = dot(sample[i], sample[j]);
      best[i] = Math.max(best[i], similar);
      best[j] = Math.max(best[j], similar);
    }
  }
  return best;
}

/**
 * @param {number} count
 * @returns {number}
 */
function stride(count) {
  let step = 1;
  while (Math.ceil(count / step) > ENOUGH) step *= 2;
  return step;
}
