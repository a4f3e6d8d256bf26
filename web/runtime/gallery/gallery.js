/**
 * The gallery: the examples taught here, in one SQLite file that a closed tab or a flat battery cannot hurt. The file is
 * that of `tlc` on a computer: what one writes the other opens, with its history for undo.
 *
 * Every change is one transaction. Nothing is deleted at once: an example is marked with the operation that removed it,
 * so that undoing an operation is to take back its marks and names.
 */

import { FingerprintError, GalleryError, UsageError } from "../errors.js";
import { cleanLabel } from "./labels.js";
import { makeRoom } from "./limits.js";
import { holder, remove, signed } from "./merging.js";
import { pack } from "./packed.js";
import * as rows from "./rows.js";
import { upgrade } from "./schema.js";

/** @typedef {import("./database.js").Database} Database */
/** @typedef {import("./packed.js").ExampleSource} ExampleSource */

/**
 * What an operation did to class `label`: examples gained, lost, and left out because the class holds their image.
 * @typedef {{kind: string, label: string, added: number, removed: number, skipped: number,
 *   classes: Map<string, number>, undone: string, gone: number}} Change
 *
 * One row: an example, or the mean of several, shown by one of their images.
 * @typedef {{id: number, label: string, name: string, sha256: string, at: string, hasThumbnail: boolean,
 *   standsFor: number}} Example
 */

/** An open gallery. */
export class Gallery {
  /**
   * Open a file, or fill a new one.
   * @param {Database} db
   * @param {string} fingerprint
   * @param {number} width
   * @param {() => Date} clock
   * @throws {FingerprintError} it holds embeddings of another model
   * @throws {GalleryError} it is no gallery, or of a later version
   */
  constructor(db, fingerprint, width, clock = () => new Date()) {
    this.db = db;
    this.clock = clock;
    this.width = width;
    upgrade(db, { fingerprint, width: String(width), created: this.#now(), rewrites: "0" });
    const meta = new Map(/** @type {[string, string][]} */ (db.rows("SELECT key, value FROM meta")));
    if (meta.get("fingerprint") !== fingerprint) {
      throw new FingerprintError(
        "the gallery belongs to another model; bring it over with `tlc gallery migrate` on a computer",
      );
    }
    if (meta.get("width") !== String(width))
      throw new GalleryError("the gallery's embeddings have another width than the model's");
  }

  /**
   * Enroll examples. An image that the class already holds is skipped.
   * @param {string} label
   * @param {Float32Array[]} vectors [n][D]
   * @param {ExampleSource[]} sources [n]
   * @returns {Change}
   */
  add(label, vectors, sources) {
    const name = cleanLabel(label);
    const packed = pack(vectors, sources, this.width);
    return this.#change("add", name, () => {
      const fresh = new Map(
        packed
          .filter(({ source }) => holder(this.db, name, source.sha256) === undefined)
          .reverse()
          .map((one) => [one.source.sha256, one]),
      );
      if (!fresh.size) return { skipped: packed.length };
      const { operation, at } = this.#operation("add", name);
      for (const example of packed)
        if (fresh.get(example.source.sha256) === example) rows.insert(this.db, name, example, at, operation);
      const gone = makeRoom(this.db, rows.counts(this.db), operation);
      return { added: fresh.size, skipped: packed.length - fresh.size, gone };
    });
  }

  /**
   * Remove a class with all its examples.
   * @param {string} label
   * @returns {Change}
   */
  forget(label) {
    const name = cleanLabel(label);
    return this.#change("forget", name, () => {
      rows.require(this.db, name);
      const { operation } = this.#operation("forget", name, {}, true);
      return {
        removed: this.db.run(
          "UPDATE examples SET removed_by = ? WHERE label = ? AND removed_by IS NULL",
          operation,
          name,
        ),
      };
    });
  }

  /**
   * Give a class another name; with `merge`, that of another class, less the images it already holds.
   * @param {string} from
   * @param {string} to
   * @param {boolean} merge
   * @returns {Change}
   */
  rename(from, to, merge = false) {
    const old = cleanLabel(from);
    const next = cleanLabel(to);
    return this.#change("rename", next, () => {
      rows.require(this.db, old);
      if (old === next) throw new GalleryError(`class ${JSON.stringify(old)} already has this name; give another one`);
      const joins = rows.counts(this.db).has(next);
      if (joins && !merge) {
        throw new GalleryError(`class ${JSON.stringify(next)} exists already; choose another name, or merge the two`);
      }
      const { operation } = this.#operation("rename", next, { from: old }, true);
      const { moved, dropped } = rows.relabel(this.db, operation, old, next);
      const gone = joins ? makeRoom(this.db, rows.counts(this.db), operation) : 0;
      return { added: moved, skipped: dropped, gone };
    });
  }

  /**
   * Remove single examples, by their ids.
   * @param {number[]} examples
   * @returns {Change}
   */
  remove(examples) {
    const ids = eachOnce(examples);
    const labels = new Set(rows.labelsOf(this.db, ids));
    const label = labels.size === 1 ? [...labels][0] : "";
    return this.#change("remove", label, () => {
      const { operation } = this.#operation("remove", label, {}, true);
      remove(this.db, ids, operation);
      return { removed: ids.length };
    });
  }

  /**
   * Give single examples, by their ids, to another class, new or known; an image it holds already is removed.
   * @param {number[]} examples
   * @param {string} label
   * @returns {Change}
   */
  move(examples, label) {
    const name = cleanLabel(label);
    const ids = eachOnce(examples);
    return this.#change("move", name, () => {
      const held = rows.labelsOf(this.db, ids);
      const elsewhere = ids.filter((_, i) => held[i] !== name);
      if (!elsewhere.length)
        throw new GalleryError(`all of these are in class ${JSON.stringify(name)} already; give another one`);
      const { operation } = this.#operation("move", name, {}, true);
      const moved = elsewhere.filter((id) => rows.relabelOne(this.db, operation, id, name)).length;
      const gone = makeRoom(this.db, rows.counts(this.db), operation);
      return { added: moved, skipped: ids.length - moved, gone };
    });
  }

  /**
   * Undo the latest operation that is not yet undone; again and again, it walks back.
   * @returns {Change}
   * @throws {GalleryError} nothing is left to undo
   */
  undo() {
    const last = rows.lastOperation(this.db);
    if (last === undefined) throw new GalleryError(`nothing to undo in the last ${rows.KEEP_OPERATIONS} operations`);
    return this.#change("undo", last.label, () => {
      const { gained, removed } = rows.takeBack(this.db, last.operation);
      return { added: gained, removed, undone: last.kind };
    });
  }

  /** How many examples each class has, sorted by name. */
  classes() {
    return rows.counts(this.db);
  }

  /**
   * The examples of one class, or of all, in the order of enrolment.
   * @param {string} [label]
   * @returns {Example[]}
   */
  examples(label) {
    const where = label === undefined ? "" : "AND label = ?";
    const found = this.db.rows(
      "SELECT id, label, source_name, source_sha256, at, EXISTS (SELECT 1 FROM thumbnails WHERE example = id), " +
        `stands_for FROM examples WHERE removed_by IS NULL ${where} ORDER BY id`,
      ...(label === undefined ? [] : [cleanLabel(label)]),
    );
    return found.map(([id, name, source, sha256, at, pictured, standsFor]) => ({
      id,
      label: name,
      name: source,
      sha256,
      at,
      hasThumbnail: pictured === 1,
      standsFor,
    }));
  }

  /**
   * The labels under which each image is enrolled.
   * @param {string[]} sha256
   * @returns {string[][]}
   */
  labelsOf(sha256) {
    const labels = [...rows.counts(this.db).keys()];
    return sha256.map((image) => labels.filter((label) => holder(this.db, label, image) !== undefined));
  }

  /**
   * An example's JPEG, or null where it was enrolled without.
   * @param {number} example
   * @returns {Uint8Array | null}
   */
  thumbnail(example) {
    return (
      this.db.value(
        "SELECT jpeg FROM thumbnails JOIN examples ON id = example WHERE id = ? AND removed_by IS NULL",
        example,
      ) ?? null
    );
  }

  /**
   * The examples for search, in the order of enrolment.
   * @param {number} after only those of a higher id
   * @returns {import("../knn/bank.js").Stored[]}
   */
  load(after = 0) {
    const found = this.db.rows(
      "SELECT id, label, vector, scale, stands_for FROM examples WHERE removed_by IS NULL AND id > ? ORDER BY id",
      after,
    );
    return found.map(([id, label, vector, scale, standsFor]) => {
      if (!(vector instanceof Uint8Array) || vector.length !== this.width) {
        throw new GalleryError(
          `example ${id} is damaged; export the gallery and run \`tlc gallery recover\` on a computer`,
        );
      }
      return { id, label, vector: signed(vector), scale, standsFor };
    });
  }

  /**
   * Examine every page and every example; return what is wrong, one sentence each, or nothing.
   * @returns {string[]}
   */
  check() {
    const lines = this.db.rows("PRAGMA integrity_check").map(([line]) => String(line));
    return [
      ...lines.filter((line) => line !== "ok").map((line) => `SQLite: ${line}`),
      ...rows.badRows(this.db, this.width),
    ];
  }

  /**
   * @param {string} kind
   * @param {string} label
   * @param {() => Partial<Change>} work
   * @returns {Change}
   */
  #change(kind, label, work) {
    return this.db.transaction(() => {
      rows.purge(this.db);
      const did = work();
      return {
        kind,
        label,
        added: 0,
        removed: 0,
        skipped: 0,
        undone: "",
        gone: 0,
        ...did,
        classes: rows.counts(this.db),
      };
    });
  }

  /**
   * @param {string} kind
   * @param {string} label
   * @param {Record<string, unknown>} detail
   * @param {boolean} rewrites
   */
  #operation(kind, label, detail = {}, rewrites = false) {
    const at = this.#now();
    this.db.run(
      "INSERT INTO operations (kind, label, detail, at) VALUES (?, ?, ?, ?)",
      kind,
      label,
      JSON.stringify(detail),
      at,
    );
    const operation = Number(this.db.value("SELECT last_insert_rowid()"));
    if (rewrites) rows.countRewrite(this.db);
    return { operation, at };
  }

  #now() {
    return `${this.clock().toISOString().slice(0, 19)}+00:00`;
  }
}

/**
 * @param {number[]} examples
 * @returns {number[]}
 */
function eachOnce(examples) {
  if (!examples.length) throw new UsageError("no examples given");
  return [...new Set(examples)];
}
