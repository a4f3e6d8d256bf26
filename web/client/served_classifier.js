/**
 * A classifier on a device, in the shape of the browser's own (`web/runtime/classifier.js`): each call is a request to
 * the device's API, and what is taught is on the device's disk when it answers.
 */

import { fromJson } from "../runtime/bundle/manifest.js";
import { UsageError } from "../runtime/errors.js";
import { cleanLabel, NONE_OF_THESE } from "../runtime/gallery/labels.js";
import { NotThereError } from "./api.js";
import { DeviceCamera } from "./device_camera.js";
import { Pictures } from "./pictures.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("../page/shape.js").Answer} Answer */
/** @typedef {import("../page/shape.js").Shown} Shown */
/**
 * A picture on its way to the device, or one that the device has itself.
 * @typedef {{picture: Blob, name: string}} Taken
 */

const MOST = 100; // pictures that the device takes in one request
const MOST_BYTES = 48_000_000; // of them: it takes 64 MB, and files that no browser reads go as they are

/** One bundle of a device. */
export class ServedClassifier {
  /**
   * @param {Api} api of the bundle
   * @param {import("../runtime/bundle/manifest.js").Manifest} manifest
   */
  constructor(api, manifest) {
    this.api = api;
    this.manifest = manifest;
    this.pictures = new Pictures(manifest.preprocessing);
  }

  /**
   * Ask the device for a bundle.
   * @param {Api} api of the bundle
   * @returns {Promise<ServedClassifier>}
   * @throws {import("../runtime/errors.js").TlcError} it does not answer, or does not let us
   */
  static async open(api) {
    const manifest = await (await api.ask("GET", "manifest")).text();
    return new ServedClassifier(api, fromJson(manifest));
  }

  /** @returns {Promise<import("../page/shape.js").About>} */
  async about() {
    const { labels, created, backbone, model, engine, accuracy } = await this.api.get("");
    const said = [`${backbone ?? ""} ${model.scheme}`.trim(), engine].join(", ");
    const images = accuracy?.correct && Math.round(accuracy.correct / accuracy.accuracy);
    return { labels, created, model: said, metrics: { ...accuracy, images }, bytes: null };
  }

  /** @param {Shown | Taken} source @returns {Promise<Answer>} */
  async predict(source) {
    const { picture, name } = await this.prepare(source);
    return this.api.send("predict", picture, { name });
  }

  /**
   * The stored pictures of an answer's nearest examples, best first; none for one that came with the model.
   * @param {Answer} answer
   * @returns {Promise<{id: number, label: string, similarity: number, picture: Blob | null}[]>}
   */
  async explain({ neighbours }) {
    return Promise.all(
      neighbours.map(async (near) => ({ ...near, picture: near.id ? await this.thumbnail(near.id) : null })),
    );
  }

  /**
   * Bring a picture to what is sent: the model's input, or what the device's camera sees now.
   * @param {Shown | Taken} source
   * @returns {Promise<Taken>}
   */
  async prepare(source) {
    if ("picture" in source) return source;
    if (source instanceof DeviceCamera) return { picture: await source.frame(), name: "camera" };
    return { picture: await this.pictures.make(source), name: source instanceof File ? source.name : "camera" };
  }

  /** @param {Taken} taken @returns {Promise<Blob>} */
  async pictureOf({ picture }) {
    return picture;
  }

  /**
   * Add examples of a class; on the device's disk when this is done, and not before the device is there. More than a
   * hundred, or than 48 MB, go in several changes.
   * @param {string} label
   * @param {(Shown | Taken)[]} sources
   * @returns {Promise<import("../page/shape.js").Learned>}
   */
  async enroll(label, sources) {
    const name = cleanLabel(label);
    if (!sources.length) throw new UsageError("no pictures to learn from; give at least one");
    let [added, skipped] = [0, 0];
    /** @type {{kind: string, label: string}[]} */
    const warnings = [];
    for await (const form of this.#forms(sources)) {
      const change =
        name === NONE_OF_THESE
          ? await this.api.sendSurely("enroll-not", form)
          : await this.api.sendSurely("enroll", form, { label: name });
      added += change.added;
      skipped += change.skipped;
      warnings.push(...change.warnings);
    }
    return { added, skipped, warnings };
  }

  /**
   * Pack pictures into forms, each of which the device takes at once.
   * @param {(Shown | Taken)[]} sources
   * @returns {AsyncGenerator<FormData>}
   */
  async *#forms(sources) {
    let form = new FormData();
    let [count, bytes] = [0, 0];
    for (const source of sources) {
      const { picture, name } = await this.prepare(source);
      if (count === MOST || (count > 0 && bytes + picture.size > MOST_BYTES)) {
        yield form;
        form = new FormData();
        [count, bytes] = [0, 0];
      }
      form.append("image", picture, name);
      count += 1;
      bytes += picture.size;
    }
    yield form;
  }

  /** @param {string} label @returns {Promise<unknown>} */
  forget(label) {
    return this.api.post("forget", { label });
  }

  /** @param {string} from @param {string} to @param {boolean} merge @returns {Promise<unknown>} */
  rename(from, to, merge = false) {
    return this.api.post("rename", { from, to, merge });
  }

  /** @param {number[]} examples ids @returns {Promise<unknown>} */
  remove(examples) {
    return this.api.post("remove", { examples });
  }

  /** @param {number[]} examples ids @param {string} label @returns {Promise<unknown>} */
  move(examples, label) {
    return this.api.post("move", { examples, label });
  }

  /** Take back the latest change, whoever made it. @returns {Promise<unknown>} */
  undo() {
    return this.api.post("undo", {});
  }

  /** @returns {Promise<Map<string, number>>} every class the answer can be, with the number of examples taught */
  async classes() {
    const { classes } = await this.api.get("classes");
    return new Map(classes.map((/** @type {{label: string, examples: number}} */ one) => [one.label, one.examples]));
  }

  /** @param {string} label @returns {Promise<{id: number}[]>} */
  async examples(label) {
    return (await this.api.get("examples", { label })).examples;
  }

  /** @param {number} example its id @returns {Promise<Blob | null>} its picture, where one was kept */
  async thumbnail(example) {
    try {
      return await this.api.blob(`thumbnails/${example}`);
    } catch (error) {
      if (error instanceof NotThereError) return null;
      throw error;
    }
  }

  /** The gallery as one file, which `tlc` on a computer opens as it is. @returns {Promise<Blob>} */
  exportGallery() {
    return this.api.blob("gallery");
  }

  /**
   * Add what a gallery's file holds to what was taught here.
   * @param {Blob} file
   * @returns {Promise<Map<string, number>>} the classes taught then
   */
  async importGallery(file) {
    return new Map(Object.entries((await this.api.send("gallery", file)).classes));
  }
}
