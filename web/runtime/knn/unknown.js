/**
 * Unknown: when nothing stored is near enough to what the camera sees.
 *
 * An image's known-ness beside a stored example is the cosine of their embeddings, both moved by `shift`. One cut for all
 * classes is found from what the build measured and what is enrolled; see `cut.js`.
 *
 * Bundles from before there was a cut have a threshold for each class: quantiles, at the stated false-alarm rate, of the
 * known-ness of images of the base classes and of classes with 1, 2, 3, … examples. Examples enrolled since move those of
 * the enrolled classes.
 */

import { readArrays } from "../bundle/arrays.js";
import { BundleError } from "../errors.js";
import { findCut, interpolate, knownnessBy, quantile } from "./cut.js";

export const KNOWNNESS = "unknown.npz";
/** Nearer to what must not pass by this is clearly nearer. */
const CLEARLY = 0.03;
/** Share of the stated rate that is left to what examples of what must not pass turn away, once there are many. */
const LEFT = 0.4;
/** Of these, with which half of that is left. */
const SHOWN = 3;
/** Enrolled examples whose word weighs as much as the build's. */
const TRUST = 10;
/** Nearer to each other than this share of the build's images: frames of one scene, not two examples. */
const COPIES = 0.99;

/** @typedef {import("../bundle/manifest.js").Manifest} Manifest */
/** @typedef {import("./bank.js").Nearby} Nearby */

/**
 * How near images come to what is stored, as a build measured it: `shift` [D], `base` ascending, and for each number
 * of examples quantiles of the known-ness of images of such a class, evenly spaced from 0 to 1. `measured` is what the
 * cut is found from; null in bundles from before there was one. `unwanted` are embeddings of what must not pass, which
 * travel with the bundle.
 * @typedef {{shift: Float32Array, base: Float32Array, examples: number[], enrolled: Float32Array[],
 *   measured: import("./cut.js").Measured | null, unwanted: Float32Array[]}} Knownness
 *
 * What an image has to reach to be known, until what is enrolled changes: the cut, or the thresholds of before.
 * @typedef {{cut: import("./cut.js").Cut | null, asked: number[]}} Limits
 */

/**
 * Return what a bundle's build measured; where it has none, the manifest's scores serve for all.
 * @param {import("../bundle/bundle.js").Bundle} bundle
 * @returns {Promise<Knownness>}
 * @throws {BundleError} the file does not fit the manifest
 */
export async function readKnownness(bundle) {
  const { manifest } = bundle;
  const width = manifest.embeddingWidth;
  const base = Float32Array.from(manifest.unknown.scores);
  if (!manifest.files.has(KNOWNNESS)) {
    const steps = Math.max(2, base.length);
    const few = Float32Array.from({ length: steps }, (_, i) => quantile(base, i / (steps - 1)));
    return {
      shift: new Float32Array(width),
      base,
      examples: base.length ? [1] : [],
      enrolled: base.length ? [few] : [],
      measured: null,
      unwanted: [],
    };
  }
  const arrays = readArrays(await bundle.read(KNOWNNESS));
  const shift = Float32Array.from(arrays.get("shift")?.data ?? []);
  const examples = Array.from(arrays.get("examples")?.data ?? []);
  const enrolled = rowsOf(arrays.get("enrolled"));
  const [few, claimed, lengths] = ["few", "claimed", "lengths"].map((name) => rowsOf(arrays.get(name)));
  const isCut = claimed.length > 0;
  const scales = Array.from(arrays.get("unwanted_scales")?.data ?? []);
  const unwanted = rowsOf(arrays.get("unwanted")).map((row, i) => row.map((value) => value * scales[i]));
  const isWhole = unwanted.length === scales.length && unwanted.every((row) => row.length === width);
  const fits = isWhole && shift.length === width && enrolled.length === examples.length;
  if (!fits || (isCut && (few.length !== examples.length || lengths.length !== claimed.length))) {
    throw new BundleError(`${KNOWNNESS} does not fit the manifest; build the bundle again`);
  }
  return { shift, base, examples, enrolled, measured: isCut ? { examples, few, claimed, lengths } : null, unwanted };
}

/**
 * Return what images have to reach at this rate of false alarms, 0 to 1, by what the bank holds now. What must not pass
 * turns away some of what is known; up to two fifths of the rate are left to it.
 * @param {Knownness} knownness
 * @param {number} rate
 * @param {import("./bank.js").Bank} bank
 * @returns {Limits}
 */
export function findLimits(knownness, rate, bank) {
  const { own } = bank.counts();
  const taught = bank.taught();
  if (knownness.measured !== null && rate > 0) {
    const shown = bank.unwanted.length;
    const asked = rate * (1 - (LEFT * shown) / (shown + SHOWN));
    const cut = findCut(knownness.measured, asked, own, taught, bank.claimed());
    return { cut, asked: own.map(() => -Infinity) };
  }
  return { cut: null, asked: thresholds(knownness, rate, own, taught, bank.enrolledScores()) };
}

/**
 * Return an image's known-ness and what is asked of it.
 * @param {Limits} limits
 * @param {Nearby} near
 * @returns {{knownness: number, threshold: number}}
 */
export function judge({ cut, asked }, near) {
  if (cut === null || !near.rows.length) return knownnessOf(near, asked);
  return { knownness: knownnessBy(cut, near.claims, near.length), threshold: cut.threshold };
}

/**
 * Return whether an image is clearly nearer to what must not pass than to anything stored.
 * @param {Nearby} near
 * @returns {boolean}
 */
export function isUnwanted(near) {
  return near.unwanted > CLEARLY + Math.max(-2, ...near.knownness);
}

/**
 * @param {import("../bundle/arrays.js").Plain | undefined} array
 * @returns {Float32Array[]}
 */
function rowsOf(array) {
  if (array === undefined || array.shape.length !== 2) return [];
  const [rows, columns] = array.shape;
  const data = Float32Array.from(array.data);
  return Array.from({ length: rows }, (_, i) => data.subarray(i * columns, (i + 1) * columns));
}

/**
 * Return the known-ness asked for by each class; -Infinity where `rate` is 0 or nothing was measured.
 * @param {Knownness} knownness
 * @param {number} rate of false alarms, 0 to 1
 * @param {number[]} exemplars how many of the bundle's rows each class has; classes with any count as base classes
 * @param {number[]} enrolled how many examples each class has in the gallery
 * @param {Float32Array[]} amongThemselves known-ness of enrolled examples beside the nearest other of their class
 * @returns {number[]}
 */
export function thresholds(knownness, rate, exemplars, enrolled, amongThemselves) {
  if (rate <= 0) return enrolled.map(() => -Infinity);
  const base = knownness.base.length ? quantile(knownness.base, Math.min(rate, 1)) : -Infinity;
  const moved = drift(knownness, amongThemselves);
  return enrolled.map((count, c) =>
    Math.fround(exemplars[c] > 0 ? base : enrolledQuantile(knownness, rate, count) + moved),
  );
}

/**
 * Return the known-ness that this share of images falls short of, for a class of so many examples.
 * @param {Knownness} knownness
 * @param {number} share
 * @param {number} count
 * @returns {number}
 */
function enrolledQuantile(knownness, share, count) {
  const { examples, enrolled } = knownness;
  if (!examples.length) return -Infinity;
  const column = enrolled.map((row) => quantile(row, share));
  return interpolate(Math.log(Math.max(count, 1)), examples.map(Math.log), column);
}

/**
 * Return by how much enrolled examples are nearer to each other than the build expected: the median, shrunk.
 * @param {Knownness} knownness
 * @param {Float32Array[]} amongThemselves
 * @returns {number}
 */
export function drift(knownness, amongThemselves) {
  if (!knownness.examples.length) return 0;
  /** @type {number[]} */
  const differences = [];
  for (const scores of amongThemselves) {
    if (scores.length < 2) continue;
    const copies = enrolledQuantile(knownness, COPIES, scores.length - 1);
    const middle = enrolledQuantile(knownness, 0.5, scores.length - 1);
    for (const score of scores) if (score <= copies) differences.push(score - middle);
  }
  if (!differences.length) return 0;
  return (quantile(differences, 0.5) * differences.length) / (differences.length + TRUST);
}

/**
 * Return the known-ness beside that of the nearest rows that speaks most for the image, and what is asked there: the
 * row that lies farthest above the threshold of its class. Without rows, nothing is asked.
 * @param {Nearby} near
 * @param {number[]} asked one per class
 * @returns {{knownness: number, threshold: number}}
 */
export function knownnessOf(near, asked) {
  if (!near.rows.length) return { knownness: 0, threshold: -Infinity };
  const limits = near.classes.map((c) => asked[c]);
  const above = near.knownness.map((s, i) => (limits[i] === -Infinity ? 2 + s : s - Math.max(limits[i], -2)));
  const best = above.indexOf(Math.max(...above));
  return { knownness: near.knownness[best], threshold: limits[best] };
}
