/** The statements that several of the gallery's operations share, each on an open transaction. */

import { UsageError } from "../errors.js";
import { byCodePoint } from "./labels.js";
import { takeLimitsBack } from "./limits.js";
import { addPicture, holder, insertRow, join, MOST_EXAMPLES, remove } from "./merging.js";
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
 */
export function insert(db, label, { source, vector, scale }, at, operation) {
  const name = source.name.replace(/\p{Cs}/gu, "?"); // half a surrogate pair is no text that could be stored
  const id = insertRow(
    db,
    label,
    { vector, scale, sha256: source.sha256, name, at, standsFor: 1, images: [] },
    operation,
  );
  if (source.thumbnail !== null) addPicture(db, id, source.thumbnail);
}

/**
 * Move a class's examples to `next`; return how many moved and how many were there already.
 * @param {Database} db
 * @param {number} operation
 * @param {string} old
 * @param {string} next
 */
export function relabel(db, operation, old, next) {
  // Those first whose image is there: two live rows of one image and name cannot be.
  const both = db
    .rows("SELECT id, source_sha256 FROM examples WHERE label = ? AND removed_by IS NULL", old)
    .filter(([, sha256]) => holder(db, next, sha256) !== undefined);
  const joined = both.filter(([id]) => relabelOne(db, operation, id, next)).length;
  db.run(
    "INSERT INTO relabelled (example, operation, label) SELECT id, ?, label FROM examples WHERE label = ? AND removed_by IS NULL",
    operation,
    old,
  );
  const moved = db.run("UPDATE examples SET label = ? WHERE label = ? AND removed_by IS NULL", next, old);
  return { moved: moved + joined, dropped: both.length - joined };
}

/**
 * Move one example to `next`, and return whether it moved: where the class holds its image already, it is removed. A
 * merged row is more than its image: it joins the row that holds this.
 * @param {Database} db
 * @param {number} operation
 * @param {number} example
 * @param {string} next
 */
export function relabelOne(db, operation, example, next) {
  const [sha256, standsFor] = db.rows("SELECT source_sha256, stands_for FROM examples WHERE id = ?", example)[0];
  const there = holder(db, next, sha256);
  if (there !== undefined) {
    if (standsFor > 1) join(db, next, [there, example], operation);
    else remove(db, [example], operation);
    return standsFor > 1;
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
  takeLimitsBack(db, operation);
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
  for (const [id, crc, vector, scale, standsFor, ...texts] of db.rows(
    "SELECT id, crc, vector, scale, stands_for, source_sha256, source_name, at FROM examples",
  )) {
    if (!(vector instanceof Uint8Array) || vector.length !== width || typeof scale !== "number") {
      bad.push(`example ${id} has no vector of width ${width}`);
    } else if (rowCrc(vector, scale, ...texts.map(String)) !== crc) bad.push(`example ${id} is not as it was written`);
    else if (!Number.isInteger(standsFor) || standsFor < 1 || standsFor > MOST_EXAMPLES)
      bad.push(`example ${id} stands for no number of examples`);
  }
  for (const [example] of db.rows("SELECT example FROM merged WHERE typeof(sha256) <> 'blob' OR length(sha256) <> 32"))
    bad.push(`example ${example} is the mean of an image that has no hash`);
  for (const [example, jpeg, crc] of db.rows("SELECT example, jpeg, crc FROM thumbnails ORDER BY example")) {
    if (!(jpeg instanceof Uint8Array) || crc32(jpeg) !== crc)
      bad.push(`example ${example}: the thumbnail is not the one that was written`);
  }
  return bad;
}
