/**
 * The self-test: a bundle carries a few images with the answers they must give, and the browser tries them. How images
 * are prepared is judged by the pixels of the test card, which no engine has a part in.
 */

import { readArrays } from "../bundle/arrays.js";
import { BundleError, SelftestError } from "../errors.js";
import { decode, prepare } from "../images/load.js";
import { dot } from "../vectors.js";

/** @typedef {import("../bundle/bundle.js").Bundle} Bundle */
/** @typedef {import("./engine.js").Engine} Engine */

const EXPECTED = "golden/expected.npz";
/** Least cosine to the expected embedding, and largest difference of a probability; the same as on a device. */
const TOLERANCE = new Map([
  ["float32", 0.9999],
  ["float16", 0.999],
]);
const INT8_TOLERANCE = 0.95;
const DIFFERENCE = new Map([
  ["float32", 0.01],
  ["float16", 0.03],
]);
const INT8_DIFFERENCE = 0.25;
/** Lead of the best class over the second from which the label must be the same. */
const CLEAR = 0.25;
/** Golden images that are tried, beside the test card: a site carries no more, as each is a part of what a first visit loads. */
const MOST = 1;
/** In the mean over the card's pixels. */
const IMAGE_TOLERANCE = 0.5;

/**
 * What the golden samples gave in this browser.
 * @typedef {{images: number, lowestCosine: number, largestDifference: number, wrongLabels: number,
 *   imageDifference: number | null, passed: boolean}} Selftest
 */

/**
 * Run the golden samples and the test card.
 * @param {Bundle} bundle
 * @param {Engine} engine
 * @returns {Promise<Selftest>}
 * @throws {BundleError} the bundle has none for this model
 */
export async function selftest(bundle, engine) {
  const file = engine.model.file;
  const arrays = readArrays(await bundle.read(EXPECTED));
  const probabilities = arrays.get(`${file}:probabilities`);
  const embeddings = arrays.get(`${file}:embedding`);
  if (probabilities === undefined || embeddings === undefined) {
    throw new BundleError(`no golden samples for ${file}; build the bundle again`);
  }
  const images = Math.min(MOST, embeddings.shape[0]);
  const result = { images, lowestCosine: 1, largestDifference: 0, wrongLabels: 0 };
  for (let i = 0; i < images; i++) {
    const pixels = await load(bundle, `golden/${String(i).padStart(2, "0")}.png`);
    await compare(engine, pixels, row(probabilities, i), row(embeddings, i), result);
  }
  const card = await readCard(bundle, arrays, file);
  if (card !== null) await compare(engine, card.wanted, card.probabilities, card.embedding, result);
  const imageDifference = card === null ? null : apart(card.drawn, card.wanted);
  const scheme = engine.model.scheme;
  const passed =
    result.lowestCosine >= (TOLERANCE.get(scheme) ?? INT8_TOLERANCE) &&
    result.largestDifference <= (DIFFERENCE.get(scheme) ?? INT8_DIFFERENCE) &&
    result.wrongLabels === 0 &&
    (imageDifference ?? 0) <= IMAGE_TOLERANCE;
  return { ...result, imageDifference, passed };
}

/**
 * Run the self-test unless this browser passed it already for these bytes and this version of itself.
 * @param {Bundle} bundle
 * @param {Engine} engine
 * @returns {Promise<Selftest | null>} null where it had passed
 * @throws {SelftestError} it did not pass
 */
export async function selftestOnce(bundle, engine) {
  const mark = `tlc-selftest ${bundle.manifest.files.get(engine.model.file)} ${navigator.userAgent}`;
  if (globalThis.localStorage?.getItem(mark) !== null) return null;
  const result = await selftest(bundle, engine);
  if (!result.passed) {
    throw new SelftestError(
      `this browser does not give the answers that the model gave where it was built (cosine ` +
        `${result.lowestCosine.toFixed(3)}, ${result.wrongLabels} wrong labels, pixels ` +
        `${(result.imageDifference ?? 0).toFixed(2)} apart); try another browser`,
    );
  }
  globalThis.localStorage?.setItem(mark, new Date().toISOString());
  return result;
}

/**
 * @param {Engine} engine
 * @param {Uint8Array} pixels
 * @param {Float32Array} probabilities expected
 * @param {Float32Array} embedding expected
 * @param {{lowestCosine: number, largestDifference: number, wrongLabels: number}} result
 */
async function compare(engine, pixels, probabilities, embedding, result) {
  const found = await engine.run(pixels);
  const lengths = Math.sqrt(dot(found.embedding, found.embedding) * dot(embedding, embedding));
  const cosine = lengths ? dot(found.embedding, embedding) / lengths : -1;
  result.lowestCosine = Math.min(result.lowestCosine, Number.isFinite(cosine) ? cosine : -1);
  probabilities.forEach((wanted, c) => {
    result.largestDifference = Math.max(result.largestDifference, Math.abs(wanted - found.probabilities[c]));
  });
  const [first, second] = Float32Array.from(probabilities).sort().reverse();
  const isClear = probabilities.length > 1 && first - second >= CLEAR;
  if (isClear && best(found.probabilities) !== best(probabilities)) result.wrongLabels++;
}

/**
 * @param {Bundle} bundle
 * @param {ReturnType<typeof readArrays>} arrays
 * @param {string} file
 */
async function readCard(bundle, arrays, file) {
  const probabilities = arrays.get(`${file}:card:probabilities`);
  const embedding = arrays.get(`${file}:card:embedding`);
  if (!bundle.manifest.files.has("card/card.png") || probabilities === undefined || embedding === undefined)
    return null;
  return {
    drawn: await load(bundle, "card/card.png"),
    wanted: await load(bundle, "card/input.png"),
    probabilities: row(probabilities, 0),
    embedding: row(embedding, 0),
  };
}

/**
 * @param {Bundle} bundle
 * @param {string} name
 * @returns {Promise<Uint8Array>}
 */
async function load(bundle, name) {
  return prepare(await decode(new Blob([await bundle.read(name)])), bundle.manifest.preprocessing);
}

/**
 * @param {import("../bundle/arrays.js").Plain} array
 * @param {number} i
 * @returns {Float32Array}
 */
function row(array, i) {
  const width = array.shape[1];
  return Float32Array.from(array.data.subarray(i * width, (i + 1) * width));
}

/**
 * @param {Float32Array} values
 * @returns {number}
 */
function best(values) {
  return values.indexOf(Math.max(...values));
}

/**
 * @param {Uint8Array} a
 * @param {Uint8Array} b
 * @returns {number}
 */
function apart(a, b) {
  let sum = 0;
  a.forEach((value, i) => {
    sum += Math.abs(value - b[i]);
  });
  return sum / a.length;
}
