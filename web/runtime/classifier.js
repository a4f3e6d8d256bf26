/** The runtime's face in a browser: open a bundle, predict, and learn new classes from a few examples. */

import { Bundle, folder, sha256 } from "./bundle/bundle.js";
import { Engine } from "./engines/engine.js";
import { selftest, selftestOnce } from "./engines/selftest.js";
import { UsageError } from "./errors.js";
import { GalleryClient } from "./gallery/client.js";
import { cleanLabel, NONE_OF_THESE } from "./gallery/labels.js";
import { migrate } from "./gallery/migrate.js";
import { decode, readRgb } from "./images/load.js";
import { isOneColour } from "./images/nothing.js";
import { Bank } from "./knn/bank.js";
import { Doubts, sharpness } from "./knn/enroll_warnings.js";
import { answer, basis } from "./knn/prediction.js";
import { readKnownness } from "./knn/unknown.js";

/** @typedef {import("./images/load.js").Source} Source */
/**
 * An image as the model's input, kept to be used later: small, whatever the camera gives.
 * @typedef {{pixels: Uint8Array<ArrayBuffer>, sha256: string, name: string}} Prepared
 */
/** @typedef {import("./knn/prediction.js").Prediction} Prediction */
/** @typedef {import("./gallery/gallery.js").Change} Change */
/** @typedef {import("./knn/enroll_warnings.js").EnrollWarning} EnrollWarning */

const THUMBNAIL_QUALITY = 0.9;

/** A bundle in a browser, with the gallery of what it was taught. */
export class Classifier {
  /**
   * @param {Bundle} bundle
   * @param {Engine} engine
   * @param {GalleryClient} gallery
   * @param {import("./bundle/bundle.js").Exemplars} exemplars
   * @param {import("./knn/unknown.js").Knownness} knownness
   * @param {number} rate
   */
  constructor(bundle, engine, gallery, exemplars, knownness, rate) {
    this.bundle = bundle;
    this.engine = engine;
    this.gallery = gallery;
    this.exemplars = exemplars;
    this.knownness = knownness;
    this.rate = rate;
    /** What came over from an earlier model of this address, or why it did not. */
    this.migration = /** @type {import("./gallery/migrate.js").Migration | Error | null} */ (null);
    this.doubts = new Doubts(() => bundle.goldenSharpness(), sharpnessOf);
    this.basis = this.#weigh(this.#fresh());
  }

  /**
   * Open a bundle and the gallery that this browser has for its model.
   * @param {string | URL} url of the bundle's folder
   * @param {{unknown?: number, selftest?: boolean, lib?: string | URL}} options `unknown`: false-alarm rate in place of the
   *   bundle's, 0 is off; `lib`: a site's folder of that name, if it does not lie beside `runtime`
   * @returns {Promise<Classifier>}
   * @throws {import("./errors.js").TlcError} the bundle, the engine or the gallery cannot be used
   */
  static async open(url, options = {}) {
    const bundle = await Bundle.open(url);
    const { manifest } = bundle;
    const rate = options.unknown ?? manifest.unknown.rate;
    if (!(rate >= 0 && rate < 1))
      throw new UsageError(`the false-alarm rate is ${rate}, expected 0 (off) up to, not including, 1`);
    const lib = folder(options.lib ?? new URL("../lib/", import.meta.url));
    const engine = await Engine.open(bundle, lib);
    try {
      if (options.selftest ?? true) await selftestOnce(bundle, engine);
      const [exemplars, knownness] = [await bundle.exemplars(), await readKnownness(bundle)];
      const gallery = await GalleryClient.open(manifest.fingerprint, manifest.embeddingWidth, lib);
      const self = new Classifier(bundle, engine, gallery, exemplars, knownness, rate);
      await self.#bringOver(lib);
      await self.#follow();
      return self;
    } catch (error) {
      engine.close();
      throw error;
    }
  }

  /** Close the gallery and the engine. */
  async close() {
    this.engine.close();
    await this.gallery.close();
  }

  /**
   * Classify one image.
   * @param {Source | Prepared} source a file, a frame of a video, a picture on the page
   * @returns {Promise<Prediction>}
   */
  async predict(source) {
    const { probabilities, embedding } = await this.#outputs(source);
    return answer(probabilities, embedding, this.basis);
  }

  /**
   * Return one image's embedding, as the model gives it (not of unit length).
   * @param {Source | Prepared} source
   * @returns {Promise<Float32Array>} [D]
   */
  async embed(source) {
    return (await this.#outputs(source)).embedding;
  }

  /**
   * Add examples of a class, new or known; on disk when this is done. All of them or none.
   * @param {string} label
   * @param {(Source | Prepared)[]} sources
   * @param {{thumbnails?: boolean}} options
   * @returns {Promise<Change & {warnings: EnrollWarning[]}>} `warnings`: what looks wrong about them
   */
  async enroll(label, sources, options = {}) {
    const name = cleanLabel(label);
    if (!sources.length) throw new UsageError("no pictures to learn from; give at least one");
    const shape = this.bundle.manifest.preprocessing;
    /** @type {import("./knn/enroll_warnings.js").NewExample[]} */
    const fresh = [];
    /** @type {import("./gallery/packed.js").ExampleSource[]} */
    const examples = [];
    for (const source of sources) {
      const { pixels, sha256: digest, name: file } = await this.prepare(source);
      const { embedding } = await this.engine.run(pixels);
      const looks = { sharpness: sharpness(pixels, shape), isBlank: isOneColour(pixels, shape) };
      fresh.push({ name: file, sha256: digest, embedding, ...looks });
      const thumbnail = (options.thumbnails ?? true) ? await this.picture(pixels) : null;
      examples.push({ sha256: digest, name: file, thumbnail });
    }
    const warnings = await this.doubts.about(name, fresh, this.basis.bank, this.gallery);
    const vectors = fresh.map(({ embedding }) => embedding);
    return { ...(await this.#changed(await this.gallery.add(name, vectors, examples))), warnings };
  }

  /**
   * Add examples of what must not pass for known: images clearly nearer to one of them are unknown.
   * @param {(Source | Prepared)[]} sources
   * @returns {Promise<Change>}
   */
  enrollNot(sources) {
    return this.enroll(NONE_OF_THESE, sources);
  }

  /** @param {string} label @returns {Promise<Change>} */
  async forget(label) {
    return this.#changed(await this.gallery.forget(label));
  }

  /** @param {string} from @param {string} to @param {boolean} merge @returns {Promise<Change>} */
  async rename(from, to, merge = false) {
    return this.#changed(await this.gallery.rename(from, to, merge));
  }

  /** @param {number[]} examples ids @returns {Promise<Change>} */
  async remove(examples) {
    return this.#changed(await this.gallery.remove(examples));
  }

  /** @param {number[]} examples ids @param {string} label @returns {Promise<Change>} */
  async move(examples, label) {
    return this.#changed(await this.gallery.move(examples, label));
  }

  /**
   * The stored pictures of an answer's nearest examples, best first; none for one that came with the model.
   * @param {Prediction} prediction
   * @returns {Promise<{id: number, label: string, similarity: number, picture: Blob | null}[]>}
   */
  async explain({ neighbours }) {
    return Promise.all(
      neighbours.map(async (near) => ({ ...near, picture: near.id ? await this.thumbnail(near.id) : null })),
    );
  }

  /** Take back the latest change that is not undone yet. @returns {Promise<Change>} */
  async undo() {
    return this.#changed(await this.gallery.undo());
  }

  /**
   * Every class the answer can be, with the number of examples taught (0: only the model's own).
   * @returns {Promise<Map<string, number>>}
   */
  async classes() {
    const taught = await this.gallery.classes();
    return new Map([...this.bundle.manifest.labels, ...taught.keys()].map((label) => [label, taught.get(label) ?? 0]));
  }

  /** @param {string} [label] @returns {Promise<import("./gallery/gallery.js").Example[]>} what was taught, of one class or all */
  examples(label) {
    return this.gallery.examples(label);
  }

  /** @param {number} example its id @returns {Promise<Blob | null>} its picture, where one was kept */
  async thumbnail(example) {
    const jpeg = await this.gallery.thumbnail(example);
    return jpeg === null ? null : new Blob([jpeg], { type: "image/jpeg" });
  }

  /**
   * What answers here, and how many bytes this browser keeps for it.
   * @returns {Promise<{labels: string[], created: string, model: string, metrics: Record<string, unknown>, bytes: number}>}
   */
  async about() {
    const { labels, created, backbone, metrics } = this.bundle.manifest;
    const model = `${String(backbone.name ?? "")} ${this.engine.model.scheme}, ${this.engine.name}`;
    const { usage } = await navigator.storage.estimate();
    return { labels, created, model, metrics, bytes: usage ?? 0 };
  }

  /** Run the bundle's golden samples again. @returns {Promise<import("./engines/selftest.js").Selftest>} */
  selftest() {
    return selftest(this.bundle, this.engine);
  }

  /** The gallery as one file, which `tlc` on a computer opens as it is. @returns {Promise<Blob>} */
  async exportGallery() {
    return new Blob([await this.gallery.exportFile()], { type: "application/vnd.sqlite3" });
  }

  /**
   * Put a gallery's file in the place of what was taught here.
   * @param {Blob} file
   * @returns {Promise<Map<string, number>>} the classes taught in it
   */
  async importGallery(file) {
    const classes = await this.gallery.importFile(new Uint8Array(await file.arrayBuffer()));
    this.doubts.byClass.clear();
    await this.#follow();
    return classes;
  }

  /** @param {Change} change @returns {Promise<Change>} */
  async #changed(change) {
    const { bank } = this.basis;
    if (change.kind === "add" && !change.gone) {
      // Nothing went: what came is put behind the rest, however much that is.
      bank.append(await this.gallery.load(bank.latest));
      this.basis = this.#weigh(bank);
    } else await this.#follow();
    return change;
  }

  /** Bring what answers are based on up to date with the gallery. */
  async #follow() {
    const bank = this.#fresh();
    bank.append(await this.gallery.load());
    this.basis = this.#weigh(bank);
  }

  /** Show the model what an earlier one of this address was taught. @param {URL} lib */
  async #bringOver(lib) {
    const { fingerprint, embeddingWidth: width } = this.bundle.manifest;
    const embed = (/** @type {Blob} */ picture) => this.embed(picture).catch(() => null);
    try {
      this.migration = await migrate(this.bundle.url, { fingerprint, width }, this.gallery, embed, lib);
    } catch (error) {
      // The classifier works without: it is tried again when it is opened next.
      this.migration = /** @type {Error} */ (error);
    }
  }

  /** A bank before anything is enrolled. */
  #fresh() {
    const { shift, unwanted } = this.knownness;
    return new Bank(this.exemplars, this.bundle.manifest.labels, shift, unwanted);
  }

  /** @param {Bank} bank */
  #weigh(bank) {
    return basis(bank, this.bundle.manifest.decision, this.knownness, this.rate);
  }

  /**
   * @param {Source | Prepared} source
   * @returns {Promise<import("./engines/engine.js").Outputs>}
   */
  async #outputs(source) {
    return "pixels" in source ? this.engine.run(source.pixels) : this.engine.answer(await decode(source));
  }

  /**
   * Bring an image to the model's input, to predict or enroll it later.
   * @param {Source | Prepared} source
   * @returns {Promise<Prepared>} `sha256` is of a file's bytes; a frame has none to tell it by, so it is of the pixels
   */
  async prepare(source) {
    if ("pixels" in source) return source;
    const pixels = /** @type {Uint8Array<ArrayBuffer>} */ (await this.engine.prepare(await decode(source)));
    const bytes = source instanceof Blob ? new Uint8Array(await source.arrayBuffer()) : pixels;
    return { pixels, sha256: await sha256(bytes), name: source instanceof File ? source.name : "camera" };
  }

  /** @param {Prepared} prepared @returns {Promise<Blob>} it, to be shown */
  async pictureOf(prepared) {
    return new Blob([await this.picture(prepared.pixels)], { type: "image/jpeg" });
  }

  /**
   * A small JPEG at the model's input size, from which another model can learn the same.
   * @param {Uint8Array} pixels
   * @returns {Promise<Uint8Array<ArrayBuffer>>}
   */
  async picture(pixels) {
    const { width, height, channels } = this.bundle.manifest.preprocessing;
    const image = new ImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = pixels[channels * i + (channels === 3 ? c : 0)];
      image.data[4 * i + 3] = 255;
    }
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d")?.putImageData(image, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: THUMBNAIL_QUALITY });
    return new Uint8Array(await blob.arrayBuffer());
  }
}

/**
 * @param {Uint8Array<ArrayBuffer>} jpeg
 * @returns {Promise<number | null>}
 */
async function sharpnessOf(jpeg) {
  const { pixels, ...shape } = await readRgb(new Blob([jpeg], { type: "image/jpeg" }));
  return sharpness(pixels, shape);
}
