/**
 * Merged rows: several examples of a class as one, the mean of them, which knows how many and which images it is of.
 * Like every row it never changes: where another example comes to it, a new row takes the place of both, and undoing that
 * brings the parts back.
 */

import { quantizeRow } from "../vectors.js";
import { crc32, rowCrc } from "./packed.js";
import { meanOf } from "./thinning.js";

/** @typedef {import("./database.js").Database} Database */

/** Images that a merged row remembers beside the one it shows; of more, the lowest hashes. */
export const KNOWN_IMAGES = 64;
/** That a row can speak for. */
export const MOST_EXAMPLES = 2 ** 31 - 1;

/**
 * A row of a gallery, all but its picture. `images` are the hashes, in hexadecimal digits and ascending, of the other
 * images that it is the mean of.
 * @typedef {{vector: Uint8Array, scale: number, sha256: string, name: string, at: string, standsFor: number,
 *   images: string[]}} Row
 */

/**
 * Return the mean of rows, in the order given; `overlap` images are in more than one of them. It goes under the image of
 * the one that speaks for the most examples, of equals the first.
 * @param {Row[]} rows
 * @param {number} overlap
 * @returns {Row}
 */
function merged(rows, overlap) {
  const mean = meanOf(rows.map(({ vector, scale, standsFor }) => ({ vector: signed(vector), scale, standsFor })));
  const { row, scale } = quantizeRow(mean.vector);
  const shown = rows.reduce((a, b) => (b.standsFor > a.standsFor ? b : a));
  const images = new Set(rows.flatMap(ownImages));
  images.delete(shown.sha256);
  return {
    ...shown,
    vector: new Uint8Array(row.buffer),
    scale,
    at: rows.map(({ at }) => at).sort()[rows.length - 1],
    standsFor: Math.min(MOST_EXAMPLES, Math.max(1, mean.standsFor - overlap)),
    images: [...images].sort().slice(0, KNOWN_IMAGES),
  };
}

/**
 * The int8 numbers of a stored vector.
 * @param {Uint8Array} vector
 * @returns {Int8Array}
 */
export function signed(vector) {
  return Int8Array.from(new Int8Array(vector.buffer, vector.byteOffset, vector.length));
}

/**
 * Add a row, without a picture; return its id.
 * @param {Database} db
 * @param {string} label
 * @param {Row} row
 * @param {number} operation
 * @returns {number}
 */
export function insertRow(db, label, { vector, scale, sha256, name, at, standsFor, images }, operation) {
  db.run(
    "INSERT INTO examples (label, vector, scale, crc, source_sha256, source_name, at, added_by, stands_for) " +
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    label,
    vector,
    scale,
    rowCrc(vector, scale, sha256, name, at),
    sha256,
    name,
    at,
    operation,
    standsFor,
  );
  const id = Number(db.value("SELECT last_insert_rowid()"));
  for (const image of images) db.run("INSERT INTO merged (sha256, example) VALUES (?, ?)", bytesOf(image), id);
  return id;
}

/**
 * Keep a row's picture.
 * @param {Database} db
 * @param {number} example
 * @param {Uint8Array} jpeg
 */
export function addPicture(db, example, jpeg) {
  db.run("INSERT INTO thumbnails (example, jpeg, crc) VALUES (?, ?, ?)", example, jpeg, crc32(jpeg));
}

/**
 * Let one new row of a class take the place of rows, with the picture of the one it shows.
 * @param {Database} db
 * @param {string} label
 * @param {number[]} examples
 * @param {number} operation
 */
export function join(db, label, examples, operation) {
  const rows = examples.map((example) => readRow(db, example));
  const all = rows.flatMap(ownImages);
  const found = merged(rows, all.length - new Set(all).size);
  remove(db, examples, operation);
  const id = insertRow(db, label, found, operation);
  const shown = examples[rows.findIndex(({ sha256 }) => sha256 === found.sha256)];
  db.run(
    "INSERT INTO thumbnails (example, jpeg, crc) SELECT ?, jpeg, crc FROM thumbnails WHERE example = ?",
    id,
    shown,
  );
}

/**
 * Mark rows as removed by an operation.
 * @param {Database} db
 * @param {number[]} examples
 * @param {number} operation
 */
export function remove(db, examples, operation) {
  for (const example of examples) db.run("UPDATE examples SET removed_by = ? WHERE id = ?", operation, example);
}

/**
 * Return the row of a class that shows an image or is the mean of it and others; undefined where there is none.
 * @param {Database} db
 * @param {string} label
 * @param {string} sha256
 * @returns {number | undefined}
 */
export function holder(db, label, sha256) {
  return db.value(
    "SELECT id FROM examples WHERE label = ? AND source_sha256 = ? AND removed_by IS NULL UNION ALL " +
      "SELECT id FROM merged JOIN examples ON id = example WHERE sha256 = ? AND label = ? AND removed_by IS NULL " +
      "LIMIT 1",
    label,
    sha256,
    bytesOf(sha256),
    label,
  );
}

/**
 * @param {Database} db
 * @param {number} example
 * @returns {Row}
 */
function readRow(db, example) {
  const [vector, scale, sha256, name, at, standsFor] = db.rows(
    "SELECT vector, scale, source_sha256, source_name, at, stands_for FROM examples WHERE id = ?",
    example,
  )[0];
  const images = db
    .rows("SELECT lower(hex(sha256)) FROM merged WHERE example = ? ORDER BY sha256", example)
    .map(([image]) => image);
  return { vector, scale, sha256, name, at, standsFor, images };
}

/**
 * @param {Row} row
 * @returns {string[]} the hashes of all images that it is known to be made of
 */
function ownImages({ sha256, images }) {
  return [sha256, ...images];
}

/**
 * @param {string} digits
 * @returns {Uint8Array}
 */
function bytesOf(digits) {
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
