/** What looks wrong about new examples: like another class. They are enrolled all the same. */

import { dot } from "../vectors.js";

/** @typedef {import("./bank.js").Bank} Bank */

const CLASS_ROWS = 200;
const NEIGHBOURS = 64;

/**
 * Return for each new example the other class that it looks like, or null.
 *
 * Its nearest neighbour in another class is as near as half of that class's rows are to their own; and either nothing of
 * its own class is nearer, or most of the examples look like that class.
 * @param {string} label
 * @param {Float32Array[]} embeddings [n][D]
 * @param {Bank} bank as it is without them
 * @returns {(string | null)[]}
 */
export function lookalikes(label, embeddings, bank) {
  const own = bank.labels.indexOf(label);
  const unit = embeddings.map(unitOf);
  /** @type {Map<number, number>} */
  const typical = new Map();
  const near = embeddings.map((embedding, i) => {
    const found = bank.nearby(embedding, NEIGHBOURS);
    const first = found.classes.findIndex((c) => c !== own);
    if (first < 0) return null;
    const c = found.classes[first];
    if (!typical.has(c)) typical.set(c, typicalNearness(bank, c));
    const others = unit.map((other, j) => (i === j ? -1 : dot(unit[i], other)));
    const inClass = found.cosines.filter((_, j) => found.classes[j] === own);
    const nearestOwn = Math.max(-1, ...others, ...inClass);
    const isNear = found.cosines[first] >= /** @type {number} */ (typical.get(c));
    return isNear ? { c, isNearer: found.cosines[first] > nearestOwn } : null;
  });
  return near.map((one) => {
    if (one === null) return null;
    const votes = near.filter((other) => other?.c === one.c).length;
    return one.isNearer || 2 * votes > embeddings.length ? bank.labels[one.c] : null;
  });
}

/**
 * The median cosine of a class's rows to their nearest in it; of a single row, no other is as near.
 * @param {Bank} bank
 * @param {number} c
 * @returns {number}
 */
function typicalNearness(bank, c) {
  const all = bank.rowClass.flatMap((one, row) => (one === c ? [row] : []));
  const step = Math.ceil(all.length / CLASS_ROWS);
  const members = all.filter((_, i) => (all.length - 1 - i) % step === 0).map((row) => bank.rows.take(row));
  if (members.length < 2) return 2;
  const best = members
    .map((a, i) => Math.max(...members.map((b, j) => (i === j ? -1 : dot(a, b)))))
    .sort((a, b) => a - b);
  const middle = best.length >> 1;
  return best.length % 2 ? best[middle] : (best[middle - 1] + best[middle]) / 2;
}

/**
 * @param {Float32Array} embedding
 * @returns {Float32Array}
 */
function unitOf(embedding) {
  const length = Math.max(Math.sqrt(dot(embedding, embedding)), 1e-30);
  return embedding.map((value) => value / length);
}
