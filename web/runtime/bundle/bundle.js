/** A bundle: the folder that a build wrote, read over the network or from the cache, each file checked by its hash. */

import { BundleError } from "../errors.js";
import { rowLengths, unitRows } from "../vectors.js";
import { readArrays } from "./arrays.js";
import { fromJson } from "./manifest.js";

export const MANIFEST = "manifest.json";
export const DIGEST = "manifest.sha256";
export const EXEMPLARS = "exemplars.npz";
const GOLDEN_SHARPNESS = "golden/sharpness.json";

/** @typedef {import("./manifest.js").Manifest} Manifest */

/**
 * Examples of the base classes that travel with the bundle, so that KNN can compare old and new: rows of unit length
 * [N, D], the index of each one's label, and the embeddings' own lengths.
 * @typedef {{vectors: Float32Array, labels: number[], lengths: Float32Array}} Exemplars
 */

/** An opened bundle. */
export class Bundle {
  /**
   * @param {URL} url of the folder, with a slash at its end
   * @param {Manifest} manifest
   */
  constructor(url, manifest) {
    this.url = url;
    this.manifest = manifest;
  }

  /**
   * Read the manifest of a bundle.
   * @param {string | URL} url of the folder
   * @returns {Promise<Bundle>}
   * @throws {BundleError} there is none, or it is not as it was written
   */
  static async open(url) {
    const at = folder(url);
    const bytes = await download(at, MANIFEST);
    const digest = new TextDecoder().decode(await download(at, DIGEST)).trim();
    if (digest !== (await sha256(bytes))) {
      throw new BundleError(`${MANIFEST} is not as it was written; build the site again`);
    }
    return new Bundle(at, fromJson(new TextDecoder().decode(bytes)));
  }

  /**
   * Return one file's bytes, which are those that were written.
   * @param {string} name
   * @returns {Promise<Uint8Array<ArrayBuffer>>}
   * @throws {BundleError} there is no such file, or it is damaged
   */
  async read(name) {
    const hash = this.manifest.files.get(name);
    if (hash === undefined) throw new BundleError(`no file ${name} in the bundle`);
    const bytes = await download(this.url, name);
    if ((await sha256(bytes)) !== hash)
      throw new BundleError(`${name} is damaged; reload the page, or build the site again`);
    return bytes;
  }

  /**
   * Return the sharpness of the golden images, which a site carries in place of most of them; none where it is no site.
   * @returns {Promise<number[]>}
   */
  async goldenSharpness() {
    const bytes = await download(this.url, GOLDEN_SHARPNESS).catch(() => undefined);
    const read = bytes === undefined ? [] : JSON.parse(new TextDecoder().decode(bytes));
    return Array.isArray(read) ? read.filter((value) => Number.isFinite(value)) : [];
  }

  /**
   * Return the base classes' stored examples; none where the bundle has none.
   * @returns {Promise<Exemplars>}
   */
  async exemplars() {
    const width = this.manifest.embeddingWidth;
    if (!this.manifest.files.has(EXEMPLARS))
      return { vectors: new Float32Array(0), labels: [], lengths: new Float32Array(0) };
    const arrays = readArrays(await this.read(EXEMPLARS));
    const vectors = arrays.get("vectors");
    const labels = Array.from(arrays.get("labels")?.data ?? []);
    const scales = arrays.get("scales")?.data;
    const classes = this.manifest.labels.length;
    if (
      vectors === undefined ||
      !(vectors.data instanceof Int8Array || vectors.data instanceof Float32Array) ||
      vectors.data.length !== labels.length * width ||
      labels.some((label) => label < 0 || label >= classes) ||
      (scales !== undefined && scales.length !== labels.length)
    ) {
      throw new BundleError(`${EXEMPLARS} does not fit the manifest; build the bundle again`);
    }
    const own = rowLengths(vectors.data, width);
    const lengths = scales === undefined ? own.fill(1) : own.map((length, i) => length * scales[i]);
    return { vectors: unitRows(vectors.data, width).unit, labels, lengths };
  }
}

/**
 * Return the address of a folder, with a slash at its end.
 * @param {string | URL} url as the page sees it
 * @returns {URL}
 */
export function folder(url) {
  const found = new URL(url, globalThis.location?.href);
  if (!found.pathname.endsWith("/")) found.pathname += "/";
  return found;
}

/**
 * @param {URL} at
 * @param {string} name
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
async function download(at, name) {
  const response = await fetch(new URL(name, at)).catch(() => undefined);
  if (!response?.ok) {
    throw new BundleError(
      `${name} cannot be had (${response ? `HTTP ${response.status}` : "no connection"}); try again`,
    );
  }
  return new Uint8Array(await response.arrayBuffer());
}

/**
 * The SHA-256 of bytes, in lower-case hexadecimal digits.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<string>}
 */
export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
