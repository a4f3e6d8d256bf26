/**
 * What classes claim of images whose right answer is known here: the bundle's exemplars and the enrolled examples.
 *
 * Of each such sample, for each class, the cosine to the nearest row of that class is kept, the sample itself left out.
 * A row that comes costs one product with the samples.
 */

import { dot } from "../vectors.js";

/** Exemplars that are samples; of more, an even choice is. */
export const EXEMPLARS = 400;
/** Enrolled examples that are samples at most, the same share of them for each class. */
export const ENROLLED = 256;
/** Below every cosine. */
export const NONE = -2;

/**
 * An image whose class is known: its row, its class, its vector as known-ness compares it, and how near the nearest row
 * of each class is; NONE where the class has no row but this one.
 * @typedef {{row: number, class: number, vector: Float32Array, nearest: number[]}} Sample
 */

/** The samples of a bank, kept up to date while rows come. */
export class Claims {
  /**
   * @param {(row: number) => Float32Array} shifted gives a row as known-ness compares it
   * @param {number[]} exemplarClasses the class of each exemplar; these are the first rows
   */
  constructor(shifted, exemplarClasses) {
    this.shifted = shifted;
    this.exemplarClasses = exemplarClasses;
    this.own = chosen(exemplarClasses.length).map((row) => this.#sample(row, exemplarClasses[row]));
    /** @type {Sample[]} */
    this.enrolled = [];
    /** @type {Map<number, number[]>} */
    this.members = new Map();
    /** @type {[number, number][]} */
    this.fresh = [];
  }

  /**
   * Take in an enrolled row; it is measured when it is asked for.
   * @param {number} row
   * @param {number} c
   */
  add(row, c) {
    const rows = this.members.get(c);
    if (rows === undefined) this.members.set(c, [row]);
    else rows.push(row);
    this.fresh.push([row, c]);
  }

  /**
   * Return exemplars beside enrolled rows, and enrolled examples beside all rows; there are so many classes.
   * @param {number} classes
   * @returns {{own: Sample[], enrolled: Sample[]}}
   */
  samples(classes) {
    const fresh = this.fresh;
    this.fresh = [];
    this.#raise([...this.own, ...this.enrolled], fresh);
    const kept = new Map(this.enrolled.map((sample) => [sample.row, sample]));
    const wanted = this.#wanted();
    const missing = wanted.filter(([row]) => !kept.has(row)).map(([row, c]) => this.#sample(row, c));
    if (missing.length) {
      /** @type {[number, number][]} */
      const every = this.exemplarClasses.map((c, row) => [row, c]);
      for (const [c, rows] of this.members) for (const row of rows) every.push([row, c]);
      this.#raise(missing, every);
    }
    for (const sample of missing) kept.set(sample.row, sample);
    this.enrolled = wanted.map(([row]) => /** @type {Sample} */ (kept.get(row)));
    for (const { nearest } of [...this.own, ...this.enrolled]) while (nearest.length < classes) nearest.push(NONE);
    return { own: this.own, enrolled: this.enrolled };
  }

  /**
   * The enrolled samples: of each class every n-th in the order of enrolment, n a power of two.
   * @returns {[number, number][]}
   */
  #wanted() {
    const present = [...this.members].sort(([a], [b]) => a - b);
    const each = Math.max(1, Math.floor(ENROLLED / Math.max(1, present.length)));
    return present.flatMap(([c, rows]) => {
      const step = stride(rows.length, each);
      return rows.filter((_, i) => i % step === 0).map((row) => /** @type {[number, number]} */ ([row, c]));
    });
  }

  /**
   * @param {number} row
   * @param {number} c
   * @returns {Sample}
   */
  #sample(row, c) {
    return { row, class: c, vector: this.shifted(row), nearest: [] };
  }

  /**
   * Let rows, with their classes, come near to samples.
   * @param {Sample[]} samples
   * @param {[number, number][]} others
   */
  #raise(samples, others) {
    for (const [row, c] of others) {
      const vector = this.shifted(row);
      for (const sample of samples) {
        if (sample.row === row) continue;
        while (sample.nearest.length <= c) sample.nearest.push(NONE);
        sample.nearest[c] = Math.max(sample.nearest[c], Math.fround(dot(vector, sample.vector)));
      }
    }
  }
}

/**
 * An even choice of at most EXEMPLARS of so many.
 * @param {number} count
 * @returns {number[]}
 */
function chosen(count) {
  const many = Math.min(count, EXEMPLARS);
  const step = many > 1 ? (count - 1) / (many - 1) : 0;
  return [...new Set(Array.from({ length: many }, (_, i) => (i === many - 1 ? count - 1 : Math.trunc(i * step))))];
}

/**
 * @param {number} count
 * @param {number} most
 * @returns {number}
 */
function stride(count, most) {
  let step = 1;
  while (Math.ceil(count / step) > most) step *= 2;
  return step;
}
