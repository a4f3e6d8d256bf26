/** The statements that several of the gallery's operations share, each on an open transaction. */

import { UsageError } from "../errors.js";
import { byCodePoint } from "./labels.js";
import { takeOverBack } from "./limits.js";
import { crc32, rowCrc } from "./packed.js";

/** @typedef {import("./database.js").Database} Database */
/** @typedef {import("./packed.js").Packed} Packed */

/** How many operations back undo reaches, counting those already undone. */
export const KEEP_OPERATIONS = 50;

/**
 * Add one example, with its thumbnail where it has one.
 * @param {Database} db
 * @param {string} label
 * @param {Packed} example
 * @param {string} at
 * @param {number} operation
 * @param {number} standsFor
 */
export function insert(db, label, { source, vector, scale }, at, operation, standsFor = 1) {
  const name = source.name.replace(/\p{Cs}/gu, "?"); // half a surrogate pair is no text that could be stored
  db.run(
    "INSERT INTO examples (label, vector, scale, crc, source_sha256, source_name, at, added_by, stands_for) " +
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    label,
    vector,
    scale,
    rowCrc(vector, scale, source.sha256, name, at),
    source.sha256,
    name,
    at,
    operation,
    standsFor,
  );
  if (source.thumbnail !== null) {
    const id = db.value("SELECT last_insert_rowid()");
    db.run(
      "INSERT INTO thumbnails (example, jpeg, crc) VALUES (?, ?, ?)",
      id,
      source.thumbnail,
      crc32(source.thumbnail),
    );
  }
}

/**
 * Move a class's examples to `next`; return how many moved and how many were there already.
 * @param {Database} db
 * @param {number} operation
 * @param {string} old
 * @param {string} next
 */
export function relabel(db, operation, old, next) {
  // The latter first: two live rows of one image and name cannot be.
  const dropped = db.run(
    "UPDATE examples SET removed_by = ? WHERE label = ? AND removed_by IS NULL AND EXISTS (" +
      "SELECT 1 FROM examples AS o WHERE o.label = ? AND o.removed_by IS NULL " +
      "AND o.source_sha256 = examples.source_sha256)",
    operation,
    old,
    next,
  );
  db.run(
    "INSERT INTO relabelled (example, operation, label) SELECT id, ?, label FROM examples WHERE label = ? AND removed_by IS NULL",
    operation,
    old,
  );
  const moved = db.run("UPDATE examples SET label = ? WHERE label = ? AND removed_by IS NULL", next, old);
  return { moved, dropped };
}

/**
 * Move one example to `next`; where the class holds its image already, it is removed. Return whether it moved.
 * @param {Database} db
 * @param {number} operation
 * @param {number} example
 * @param {string} next
 */
export function relabelOne(db, operation, example, next) {
  const sha256 = db.value("SELECT source_sha256 FROM examples WHERE id = ?", example);
  if (holds(db, next, sha256)) {
    db.run("UPDATE examples SET removed_by = ? WHERE id = ?", operation, example);
    return false;
  }
  db.run(
    "INSERT INTO relabelled (example, operation, label) SELECT id, ?, label FROM examples WHERE id = ?",
    operation,
    example,
  );
  db.run("UPDATE examples SET label = ? WHERE id = ?", next, example);
  return true;
}

/**
 * Return the labels of live examples.
 * @param {Database} db
 * @param {number[]} examples
 * @returns {string[]}
 * @throws {UsageError} one of them is not there
 */
export function labelsOf(db, examples) {
  return examples.map((example) => {
    const label = db.value("SELECT label FROM examples WHERE id = ? AND removed_by IS NULL", example);
    if (label === undefined) throw new UsageError(`no example ${example} in the gallery`);
    return label;
  });
}

/**
 * Return the operation to undo next, with the class that undoing it is about; undefined where there is none.
 * @param {Database} db
 * @returns {{operation: number, kind: string, label: string} | undefined}
 */
export function lastOperation(db) {
  const row = db.rows(
    "SELECT id, kind, label, detail FROM operations WHERE undone = 0 " +
      "AND id > (SELECT max(id) FROM operations) - ? ORDER BY id DESC LIMIT 1",
    KEEP_OPERATIONS,
  )[0];
  if (row === undefined) return undefined;
  return { operation: row[0], kind: row[1], label: JSON.parse(row[3]).from ?? row[2] };
}

/**
 * Take back what an operation marked and named; return how many examples came back and how many went. All later
 * operations are undone by then, so the examples stand as this one left them.
 * @param {Database} db
 * @param {number} operation
 */
export function takeBack(db, operation) {
  takeOverBack(db, operation);
  // Before others come back: two live rows of one image and name cannot be.
  const removed = db.run(
    "UPDATE examples SET removed_by = ? WHERE added_by = ? AND removed_by IS NULL",
    operation,
    operation,
  );
  const moved = db.run(
    "UPDATE examples SET label = (SELECT r.label FROM relabelled AS r WHERE r.example = examples.id AND r.operation = ?) " +
      "WHERE id IN (SELECT example FROM relabelled WHERE operation = ?)",
    operation,
    operation,
  );
  const back = db.run(
    "UPDATE examples SET removed_by = NULL WHERE removed_by = ? AND added_by <> ?",
    operation,
    operation,
  );
  db.run("UPDATE operations SET undone = 1 WHERE id = ?", operation);
  countRewrite(db);
  return { gained: moved + back, removed };
}

/**
 * Delete what no undo can bring back any more.
 * @param {Database} db
 */
export function purge(db) {
  const horizon = db.value("SELECT coalesce(max(id), 0) FROM operations") - KEEP_OPERATIONS;
  db.run("DELETE FROM examples WHERE removed_by IS NOT NULL AND removed_by <= ?", horizon);
  db.run("DELETE FROM relabelled WHERE operation <= ?", horizon);
}

/**
 * Return how many live examples each class has, sorted by name.
 * @param {Database} db
 * @returns {Map<string, number>}
 */
export function counts(db) {
  const found = db.rows("SELECT label, count(*) FROM examples WHERE removed_by IS NULL GROUP BY label");
  return new Map(/** @type {[string, number][]} */ (found).sort(([a], [b]) => byCodePoint(a, b)));
}

/**
 * Return whether the class holds an example of this image.
 * @param {Database} db
 * @param {string} label
 * @param {string} sha256
 */
export function holds(db, label, sha256) {
  return (
    db.value("SELECT 1 FROM examples WHERE label = ? AND source_sha256 = ? AND removed_by IS NULL", label, sha256) === 1
  );
}

/**
 * @param {Database} db
 * @param {string} label
 * @throws {UsageError} there is no such class
 */
export function require(db, label) {
  if (!counts(db).has(label)) throw new UsageError(`no class ${JSON.stringify(label)} was taught here`);
}

/**
 * Tell readers that rows they hold may have changed.
 * @param {Database} db
 */
export function countRewrite(db) {
  db.run("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'rewrites'");
}

/**
 * Return a sentence for every example that is not as it was written.
 * @param {Database} db
 * @param {number} width
 * @returns {string[]}
 */
export function badRows(db, width) {
  const bad = [];
  for (const [id, crc, vector, scale, ...texts] of db.rows(
    "SELECT id, crc, vector, scale, source_sha256, source_name, at FROM examples",
  )) {
    if (!(vector instanceof Uint8Array) || vector.length !== width || typeof scale !== "number") {
      bad.push(`example ${id} has no vector of width ${width}`);
    } else if (rowCrc(vector, scale, ...texts.map(String)) !== crc) bad.push(`example ${id} is not as it was written`);
  }
  for (const [example, jpeg, crc] of db.rows("SELECT example, jpeg, crc FROM thumbnails ORDER BY example")) {
    if (!(jpeg instanceof Uint8Array) || crc32(jpeg) !== crc)
      bad.push(`example ${example}: the thumbnail is not the one that was written`);
  }
  return bad;
}
