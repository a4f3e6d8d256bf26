/**
 * What looks wrong about new examples: seen before, blurred, or like another class. They are enrolled all the same.
 *
 * Nothing here compares with a constant that fits one camera: an image is blurred in comparison with the images of its
 * class, or where there are none with the bundle's own.
 */

import { NONE_OF_THESE } from "../gallery/labels.js";
import { dot } from "../vectors.js";

/** @typedef {import("./bank.js").Bank} Bank */
/**
 * @typedef {{name: string, sha256: string, embedding: Float32Array, sharpness: number | null, isBlank: boolean}} NewExample
 *
 * What looks wrong about an image: `duplicate`, `blank`, `blur` or `alike`; `label` is the class that it is about.
 * @typedef {{kind: string, image: string, label: string}} EnrollWarning
 *
 * What of a gallery is asked.
 * @typedef {{labelsOf(sha256: string[]): Promise<string[][]>, examples(label: string): Promise<{id: number}[]>,
 *   thumbnail(id: number): Promise<Uint8Array<ArrayBuffer> | null>}} Held
 */

const ENOUGH = 4; // references to tell by how much sharpness varies
const REFERENCES = 16;
const SPREADS = 4;
const LEAST_SPREAD = 0.1; // decades; less, among few references, is chance
const CLASS_ROWS = 200;
const NEIGHBOURS = 64;

/** Looks at new examples beside a bundle's own images and what the gallery holds. */
export class Doubts {
  /**
   * @param {() => Promise<number[]>} golden the sharpness of the bundle's own images
   * @param {(jpeg: Uint8Array<ArrayBuffer>) => Promise<number | null>} read the sharpness of a stored picture
   */
  constructor(golden, read) {
    this.golden = golden;
    this.read = read;
    /** @type {Map<string, number[]>} */
    this.byClass = new Map();
  }

  /**
   * Return what looks wrong about examples that are about to be enrolled as `label`.
   * @param {string} label
   * @param {NewExample[]} examples
   * @param {Bank} bank without them, and so
   * @param {Held} gallery
   * @returns {Promise<EnrollWarning[]>}
   */
  async about(label, examples, bank, gallery) {
    /** @type {EnrollWarning[]} */
    const found = [];
    const tell = (/** @type {string} */ kind, /** @type {NewExample} */ { name }, about = label) =>
      found.push({ kind, image: name, label: about });
    const known = await gallery.labelsOf(examples.map(({ sha256 }) => sha256));
    examples.forEach((example, i) => {
      if (known[i].length) tell("duplicate", example, known[i].includes(label) ? label : known[i][0]);
    });
    const sharp = examples.flatMap(({ sharpness }) => (sharpness === null ? [] : [sharpness]));
    const limit = Math.max(...(await this.#references(label, sharp, gallery)).map(blurLimit));
    for (const example of examples) {
      if (example.isBlank || example.sharpness === null) tell("blank", example);
      else if (example.sharpness < limit) tell("blur", example);
    }
    const embeddings = examples.map(({ embedding }) => embedding);
    // What must not pass is shown because it does.
    const others = label === NONE_OF_THESE ? [] : lookalikes(label, embeddings, bank);
    others.forEach((other, i) => {
      if (other !== null) tell("alike", examples[i], other);
    });
    this.byClass.set(label, [...(this.byClass.get(label) ?? []), ...sharp].slice(-REFERENCES));
    return found;
  }

  /**
   * Return what to compare with: the class's latest images and the new ones, or also the bundle's own.
   * @param {string} label
   * @param {number[]} sharp
   * @param {Held} gallery
   * @returns {Promise<number[][]>}
   */
  async #references(label, sharp, gallery) {
    let known = this.byClass.get(label);
    if (known === undefined) {
      const held = (await gallery.examples(label)).slice(-REFERENCES);
      const pictures = await Promise.all(held.map(({ id }) => gallery.thumbnail(id)));
      const read = await Promise.all(pictures.map((jpeg) => (jpeg === null ? null : this.read(jpeg))));
      known = read.filter((value) => value !== null);
      this.byClass.set(label, known);
    }
    if (known.length >= ENOUGH) return [known];
    return [
      [...(await this.golden()), ...known],
      [...known, ...sharp],
    ];
  }
}

/**
 * Return the decimal logarithm of the Laplacian's variance over the image's own; null for an even image.
 *
 * The variance of the Laplacian (Pech-Pacheco et al. 2000) grows with contrast too; divided by the variance it does not.
 * @param {Uint8Array} pixels [height, width, channels], at the size at which the model sees them
 * @param {{width: number, height: number, channels: number}} shape
 * @returns {number | null}
 */
export function sharpness(pixels, { width, height, channels }) {
  const grey = new Float32Array(width * height);
  for (let i = 0, at = 0; i < grey.length; i++) {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += pixels[at++];
    grey[i] = sum / channels;
  }
  const laplacian = new Float32Array(Math.max(0, width - 2) * Math.max(0, height - 2));
  for (let y = 1, to = 0; y < height - 1; y++) {
    for (let i = y * width + 1; i < (y + 1) * width - 1; i++) {
      laplacian[to++] = 4 * grey[i] - grey[i - width] - grey[i + width] - grey[i - 1] - grey[i + 1];
    }
  }
  const [contrast, detail] = [variance(grey), variance(laplacian)];
  return contrast > 1 && detail > 0 ? Math.log10(detail / contrast) : null;
}

/**
 * Return the sharpness under which an image looks blurred beside the references; -Infinity for too few.
 * @param {number[]} references
 * @returns {number}
 */
export function blurLimit(references) {
  if (references.length < ENOUGH) return -Infinity;
  const middle = median(references);
  const spread = 1.4826 * median(references.map((one) => Math.abs(one - middle))); // of a normal distribution, its sd
  return middle - SPREADS * Math.max(spread, LEAST_SPREAD);
}

/**
 * @param {Float32Array} values
 * @returns {number}
 */
function variance(values) {
  let [sum, squares] = [0, 0];
  for (const value of values) sum += value;
  const mean = sum / values.length;
  for (const value of values) squares += (value - mean) ** 2;
  return values.length ? squares / values.length : 0;
}

/**
 * @param {number[]} values
 * @returns {number}
 */
function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

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
  return median(members.map((a, i) => Math.max(...members.map((b, j) => (i === j ? -1 : dot(a, b))))));
}

/**
 * @param {Float32Array} embedding
 * @returns {Float32Array}
 */
function unitOf(embedding) {
  const length = Math.max(Math.sqrt(dot(embedding, embedding)), 1e-30);
  return embedding.map((value) => value / length);
}
