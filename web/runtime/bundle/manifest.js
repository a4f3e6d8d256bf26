/**
 * `manifest.json`: what a bundle says about itself. Only what the runtime acts on is looked at.
 */

import { BundleError } from "../errors.js";

export const SCHEMA = 1;

/**
 * How an image becomes the model's input: uint8 [height, width, channels].
 * @typedef {{height: number, width: number, channels: 1 | 3, fit: string, filter: string, passes: string,
 *   background: [number, number, number]}} Preprocessing
 *
 * @typedef {{file: string, format: string, scheme: string, bytes: number}} ModelFile
 *
 * The numbers of the rule that joins head and gallery, as in `knn/decision.js`.
 * @typedef {{k: number, temperature: number, mean: number, balance: number, means: number,
 *   meansTemperature: number}} Decision
 *
 * What the `unknown` threshold is made from, as in `knn/unknown.js`.
 * @typedef {{rate: number, scores: number[]}} Unknown
 *
 * @typedef {{fingerprint: string, labels: string[], preprocessing: Preprocessing, models: ModelFile[],
 *   embeddingWidth: number, decision: Decision, unknown: Unknown, scheme: string, files: Map<string, string>,
 *   metrics: Record<string, unknown>, backbone: Record<string, unknown>, created: string}} Manifest
 */

/**
 * Read a manifest.
 * @param {string} text
 * @returns {Manifest}
 * @throws {BundleError} it is not JSON, lacks or misuses a field, or has a schema that this version does not know
 */
export function fromJson(text) {
  let read;
  try {
    read = object(JSON.parse(text), "manifest");
  } catch {
    throw new BundleError("manifest.json is not valid JSON; build the bundle again");
  }
  const schema = read.schema;
  if (typeof schema !== "number" || !Number.isInteger(schema) || schema < 1) {
    throw new BundleError(`manifest.json has schema ${short(schema)}, expected a number from 1 to ${SCHEMA}`);
  }
  if (schema > SCHEMA) {
    throw new BundleError(`the bundle has schema ${schema}, this page reads up to ${SCHEMA}; build the site again`);
  }
  try {
    return parse(read);
  } catch (error) {
    if (error instanceof Misuse) throw new BundleError(`manifest.json has ${error.message}; build the bundle again`);
    throw error;
  }
}

/**
 * @param {Record<string, unknown>} doc
 * @returns {Manifest}
 */
function parse(doc) {
  const decision = object(doc.decision, "decision");
  const unknown = object(doc.unknown, "unknown");
  const labels = list(doc.labels, "labels").map((label) => string(label, "labels"));
  if (new Set(labels).size < labels.length) throw new Misuse("a label twice");
  return {
    fingerprint: string(doc.fingerprint, "fingerprint"),
    labels,
    preprocessing: preprocessing(object(doc.preprocessing, "preprocessing")),
    models: list(doc.models, "models").map(model),
    embeddingWidth: whole(doc.embedding_width, "embedding_width"),
    decision: {
      k: whole(decision.k, "k"),
      temperature: real(decision.temperature, "temperature", 1e-6),
      mean: real(decision.mean ?? 0, "mean", 0, 1),
      balance: real(decision.balance ?? 0, "balance", 0, 1),
      means: real(decision.means ?? 0, "means", 0, 1e3),
      meansTemperature: real(decision.means_temperature ?? 0.04, "means_temperature", 1e-6),
    },
    unknown: {
      rate: real(unknown.rate, "rate", 0, 1),
      scores: list(unknown.scores, "scores").map((score) => real(score, "scores", -2, 2)),
    },
    scheme: string(doc.scheme, "scheme"),
    files: new Map(Object.entries(object(doc.files, "files")).map(([name, hash]) => [name, string(hash, name)])),
    metrics: object(doc.metrics, "metrics"),
    backbone: object(doc.backbone, "backbone"),
    created: string(doc.created, "created"),
  };
}

/**
 * @param {Record<string, unknown>} doc
 * @returns {Preprocessing}
 */
function preprocessing(doc) {
  const background = list(doc.background, "background").map((value) => whole(value, "background", 0));
  const [red, green, blue] = background;
  if (background.length !== 3) throw new Misuse(`background ${short(background)}, expected three numbers`);
  const channels = whole(doc.channels, "channels");
  const known =
    doc.fit === "stretch" && doc.filter === "bilinear" && ["", "tall-vertical"].includes(String(doc.passes ?? ""));
  if (!known || (channels !== 1 && channels !== 3)) {
    throw new Misuse(`unknown preprocessing (${doc.fit}, ${doc.filter}, ${doc.passes}, ${channels} channels)`);
  }
  return {
    height: whole(doc.height, "height"),
    width: whole(doc.width, "width"),
    channels,
    fit: string(doc.fit, "fit"),
    filter: string(doc.filter, "filter"),
    passes: string(doc.passes ?? "", "passes"),
    background: [red, green, blue],
  };
}

/**
 * @param {unknown} value
 * @returns {ModelFile}
 */
function model(value) {
  const doc = object(value, "models");
  return {
    file: string(doc.file, "file"),
    format: string(doc.format, "format"),
    scheme: string(doc.scheme, "scheme"),
    bytes: whole(doc.bytes, "bytes", 0),
  };
}

class Misuse extends Error {}

/**
 * @param {unknown} value
 * @param {string} name
 * @returns {Record<string, unknown>}
 */
function object(value, name) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Misuse(`${name} ${short(value)}, expected an object`);
  }
  return /** @type {Record<string, unknown>} */ (value);
}

/**
 * @param {unknown} value
 * @param {string} name
 * @returns {unknown[]}
 */
function list(value, name) {
  if (!Array.isArray(value)) throw new Misuse(`${name} ${short(value)}, expected a list`);
  return value;
}

/**
 * @param {unknown} value
 * @param {string} name
 * @returns {string}
 */
function string(value, name) {
  if (typeof value !== "string") throw new Misuse(`${name} ${short(value)}, expected text`);
  return value;
}

/**
 * @param {unknown} value
 * @param {string} name
 * @param {number} low
 * @returns {number}
 */
function whole(value, name, low = 1) {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < low) {
    throw new Misuse(`${name} ${short(value)}, expected a whole number from ${low}`);
  }
  return value;
}

/**
 * @param {unknown} value
 * @param {string} name
 * @param {number} low
 * @param {number} high
 * @returns {number}
 */
function real(value, name, low, high = 1e9) {
  if (typeof value !== "number" || !(value >= low && value <= high)) {
    throw new Misuse(`${name} ${short(value)}, expected a number from ${low} to ${high}`);
  }
  return value;
}

/**
 * @param {unknown} value
 * @returns {string}
 */
function short(value) {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length <= 40 ? text : `${text.slice(0, 40)}…`;
}
