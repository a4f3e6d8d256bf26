/**
 * The bank: every vector that KNN compares with, in memory, and which class each belongs to. The bundle's exemplars
 * come first, the gallery's examples after them.
 */

import { NONE_OF_THESE } from "../gallery/labels.js";
import { dot, unitRows } from "../vectors.js";
import { Claims, NONE } from "./claims.js";
import { leaveOneOut } from "./leave_one_out.js";
import { FloatRows } from "./search.js";

/**
 * The rows nearest to an embedding, best first; one entry per row in each list. `ids` are the gallery's, 0 for
 * exemplars; `own` says whether it is an exemplar; `knownness` is the cosine with both moved by the shift. And for each
 * class what it claims of the embedding, with the embedding's length, as `cut.js` asks; `unwanted` is the known-ness
 * beside the nearest example of what must not pass, -2 where there is none.
 * @typedef {{rows: number[], ids: number[], classes: number[], own: boolean[], cosines: number[], toMeans: number[],
 *   knownness: number[], claims: number[], length: number,
 *   unwanted: number}} Nearby
 *
 * An enrolled row as search needs it: the int8 vector [D] and its scale, and how many examples it is the mean of.
 * @typedef {{id: number, label: string, vector: Int8Array, scale: number, standsFor: number}} Stored
 *
 * @typedef {import("../bundle/bundle.js").Exemplars} Exemplars
 */

/** The rows to search, and which class each belongs to. */
export class Bank {
  /**
   * Start with a bundle's exemplars.
   * @param {Exemplars} exemplars
   * @param {string[]} labels the base classes
   * @param {Float32Array} shift [D], what known-ness adds to embeddings
   * @param {Float32Array[]} unwanted embeddings of what must not pass, which the bundle brings
   */
  constructor(exemplars, labels, shift, unwanted = []) {
    /** Base classes first, then those only in the gallery, in the order in which they came. */
    this.labels = [...labels];
    this.base = labels;
    this.exemplars = exemplars.labels.length;
    this.width = shift.length;
    this.shift = shift;
    this.shiftSquared = dot(shift, shift);
    this.rows = new FloatRows(this.width);
    /** @type {number[]} */
    this.rowClass = [];
    /** @type {number[]} */
    this.ids = [];
    /** How many examples each row stands for. @type {number[]} */
    this.weights = [];
    /** @type {number[]} */
    this.lengths = [];
    /** @type {number[]} */
    this.leans = [];
    /** @type {Float64Array[]} */
    this.sums = labels.map(() => new Float64Array(this.width));
    /** @type {Float32Array[]} */
    this.means = [];
    /** @type {Float64Array[]} */
    this.shiftedSums = labels.map(() => new Float64Array(this.width));
    /** @type {Float32Array[]} */
    this.shiftedMeans = [];
    /** The highest id of the gallery that is in it. */
    this.latest = 0;
    /** What must not pass, as known-ness compares it; none of it is searched, and it is of no class. @type {Float32Array[]} */
    this.unwanted = unwanted.map((row) => this.#moved(row, 1));
    this.index = new Map(labels.map((label, i) => [label, i]));
    exemplars.labels.forEach((c, i) => {
      const unit = exemplars.vectors.subarray(i * this.width, (i + 1) * this.width);
      this.#takeIn(0, c, unit, exemplars.lengths[i], 1);
    });
    this.#point();
    this.claims = new Claims((row) => this.#shifted(row), exemplars.labels);
  }

  /** How many rows there are, exemplars included. */
  get length() {
    return this.rowClass.length;
  }

  /**
   * Add enrolled rows behind the others.
   * @param {Iterable<Stored>} stored
   */
  append(stored) {
    const isClass = this.base.includes(NONE_OF_THESE);
    for (const { id, label, vector, scale, standsFor } of stored) {
      this.latest = Math.max(this.latest, id);
      const { unit, lengths } = unitRows(vector, this.width);
      if (label === NONE_OF_THESE && !isClass) {
        this.unwanted.push(this.#moved(unit, lengths[0] * Math.fround(scale)));
        continue;
      }
      const c = this.#classOf(label);
      this.claims.add(this.length, c);
      this.#takeIn(id, c, unit, lengths[0] * Math.fround(scale), standsFor);
    }
    this.#point();
  }

  /**
   * Return the k rows nearest to an embedding, and all that a decision asks about them.
   * @param {Float32Array} embedding [D], as the model gives it
   * @param {number} k
   * @returns {Nearby}
   */
  nearby(embedding, k) {
    const squared = dot(embedding, embedding);
    const length = Math.sqrt(squared) || 1;
    const unit = embedding.map((value) => value / length);
    const { rows, products } = this.rows.nearest(unit, k);
    const along = dot(embedding, this.shift);
    const moved = Math.sqrt(Math.max(0, squared + 2 * along + this.shiftSquared)) || 1;
    const classes = rows.map((row) => this.rowClass[row]);
    const knownness = rows.map((row, i) => {
      const own = this.lengths[row];
      const lean = this.leans[row];
      const beside = Math.sqrt(Math.max(0, own * own + 2 * own * lean + this.shiftSquared)) || 1;
      return (own * (length * products[i] + lean) + along + this.shiftSquared) / (beside * moved);
    });
    const toward = embedding.map((value, j) => (value + this.shift[j]) / moved);
    const claims = this.shiftedMeans.map((mean) => dot(mean, toward));
    for (const c of new Set(classes)) {
      // A class with no row among the nearest has none that is nearer than its mean, as good as always.
      const best = Math.max(...knownness.filter((_, i) => classes[i] === c));
      claims[c] = (best + claims[c]) / 2;
    }
    return {
      rows,
      ids: rows.map((row) => this.ids[row]),
      classes,
      own: rows.map((row) => row < this.exemplars),
      cosines: products,
      toMeans: classes.map((c) => Math.fround(dot(this.means[c], unit))),
      knownness,
      claims,
      length,
      unwanted: this.unwanted.reduce((best, vector) => Math.max(best, dot(vector, toward)), -2),
    };
  }

  /**
   * Return an embedding's cosine to the mean of every class; -Infinity where that is not heard.
   * @param {Float32Array} embedding
   * @param {boolean[] | null} heard as `heard` says
   * @returns {number[] | null}
   */
  toClassMeans(embedding, heard) {
    if (heard === null) return null;
    const length = Math.sqrt(dot(embedding, embedding)) || 1;
    const unit = embedding.map((value) => value / length);
    return this.means.map((mean, c) => (heard[c] ? Math.fround(dot(mean, unit)) : -Infinity));
  }

  /**
   * Return which means of classes are heard: of those with rows. Null while nothing is enrolled, and where a class of the
   * bundle has no exemplars, as it would lose by that.
   * @returns {boolean[] | null}
   */
  heard() {
    const { own, enrolled } = this.counts();
    const isTaught = enrolled.some((count) => count > 0);
    if (!isTaught || !own.slice(0, this.base.length).every((count) => count > 0)) return null;
    return own.map((count, c) => count + enrolled[c] > 0);
  }

  /**
   * Return how many exemplars and how many enrolled rows each class has.
   * @returns {{own: number[], enrolled: number[]}}
   */
  counts() {
    const own = this.labels.map(() => 0);
    const enrolled = this.labels.map(() => 0);
    this.rowClass.forEach((c, row) => {
      (row < this.exemplars ? own : enrolled)[c]++;
    });
    return { own, enrolled };
  }

  /**
   * Return how many examples were enrolled of each class: a merged row is as many as it stands for.
   * @returns {number[]}
   */
  taught() {
    const taught = this.labels.map(() => 0);
    for (let row = this.exemplars; row < this.length; row++) taught[this.rowClass[row]] += this.weights[row];
    return taught;
  }

  /**
   * Return what the classes claim of images whose right class is known.
   * @returns {import("./cut.js").Claimed}
   */
  claimed() {
    const { own, enrolled } = this.claims.samples(this.labels.length);
    const counts = this.counts();
    const claimsOf = (/** @type {import("./claims.js").Sample} */ { vector, nearest }) =>
      nearest.map((near, c) => (near === NONE ? -Infinity : (near + dot(vector, this.shiftedMeans[c])) / 2));
    const ofEnrolled = enrolled.map((sample) => {
      const claims = claimsOf(sample);
      const { row, class: c, vector, nearest } = sample;
      // Its own class without itself, and without the examples that it is the mean of.
      const rest = Float32Array.from(this.shiftedSums[c], (value, j) => value - this.weights[row] * vector[j]);
      const beside = dot(unitRows(rest, this.width).unit, vector);
      claims[c] = nearest[c] === NONE ? -Infinity : (nearest[c] + beside) / 2;
      return claims;
    });
    return {
      exemplars: own.map(({ row }) => row),
      ofExemplars: own.map((sample) => claimsOf(sample).map((claim, c) => (counts.own[c] ? -Infinity : claim))),
      classes: enrolled.map((sample) => sample.class),
      ofEnrolled,
      lengths: enrolled.map(({ row }) => Math.log(Math.max(this.lengths[row], 1e-30))),
      standFor: enrolled.map(({ row }) => this.weights[row]),
    };
  }

  /**
   * Return the enrolled rows' own known-ness, one array per class, each beside its class with itself left out.
   * @returns {Float32Array[]}
   */
  enrolledScores() {
    /** @type {Map<number, number[]>} */
    const members = new Map();
    for (let row = this.exemplars; row < this.length; row++) {
      const c = this.rowClass[row];
      const rows = members.get(c);
      if (rows === undefined) members.set(c, [row]);
      else rows.push(row);
    }
    return leaveOneOut(members, (row) => this.#shifted(row));
  }

  /**
   * A row as known-ness compares it: of its own length, moved by the shift, then of unit length.
   * @param {number} row
   * @returns {Float32Array}
   */
  #shifted(row) {
    return this.#moved(this.rows.take(row), this.lengths[row]);
  }

  /**
   * @param {Float32Array} unit
   * @param {number} length
   * @returns {Float32Array}
   */
  #moved(unit, length) {
    const own = Math.fround(length);
    return unitRows(
      unit.map((value, j) => Math.fround(value * own) + this.shift[j]),
      this.width,
    ).unit;
  }

  /**
   * @param {string} label
   * @returns {number}
   */
  #classOf(label) {
    let c = this.index.get(label);
    if (c === undefined) {
      c = this.labels.length;
      this.index.set(label, c);
      this.labels.push(label);
      this.sums.push(new Float64Array(this.width));
      this.shiftedSums.push(new Float64Array(this.width));
    }
    return c;
  }

  /**
   * @param {number} id
   * @param {number} c
   * @param {Float32Array} unit
   * @param {number} length
   * @param {number} standsFor
   */
  #takeIn(id, c, unit, length, standsFor) {
    this.rows.append(unit);
    this.rowClass.push(c);
    this.ids.push(id);
    this.weights.push(standsFor);
    this.lengths.push(Math.fround(length));
    this.leans.push(Math.fround(dot(unit, this.shift)));
    const shifted = this.#shifted(this.length - 1);
    for (let j = 0; j < this.width; j++) {
      this.sums[c][j] += standsFor * unit[j];
      this.shiftedSums[c][j] += standsFor * shifted[j];
    }
  }

  /** Bring the means of the classes, of unit length, up to date with their sums. */
  #point() {
    this.means = this.sums.map((sum) => unitRows(Float32Array.from(sum), this.width).unit);
    this.shiftedMeans = this.shiftedSums.map((sum) => unitRows(Float32Array.from(sum), this.width).unit);
  }
}
