/**
 * The gallery's tables, the same to the letter as those that `tlc` makes: one file serves both.
 */

import { GalleryError } from "../errors.js";

/** @typedef {import("./database.js").Database} Database */

/** "tlcG" */
export const APPLICATION_ID = 0x746c6347;

/** Each entry is one version: the statements that lead to it from the version before. Never edit a released entry. */
export const MIGRATIONS = [
  [
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE operations (" +
      "id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, label TEXT NOT NULL, " +
      "detail TEXT NOT NULL DEFAULT '{}', at TEXT NOT NULL, " +
      "undone INTEGER NOT NULL DEFAULT 0 CHECK (undone IN (0, 1)))",
    "CREATE TABLE examples (" +
      "id INTEGER PRIMARY KEY AUTOINCREMENT, label TEXT NOT NULL, vector BLOB NOT NULL, " +
      "scale REAL NOT NULL, crc INTEGER NOT NULL, source_sha256 TEXT NOT NULL, " +
      "source_name TEXT NOT NULL, at TEXT NOT NULL, added_by INTEGER NOT NULL REFERENCES operations (id), " +
      "removed_by INTEGER REFERENCES operations (id))",
    "CREATE TABLE thumbnails (" +
      "example INTEGER PRIMARY KEY REFERENCES examples (id) ON DELETE CASCADE, " +
      "jpeg BLOB NOT NULL, crc INTEGER NOT NULL)",
    "CREATE TABLE relabelled (" +
      "example INTEGER NOT NULL REFERENCES examples (id) ON DELETE CASCADE, " +
      "operation INTEGER NOT NULL REFERENCES operations (id), label TEXT NOT NULL, " +
      "PRIMARY KEY (example, operation)) WITHOUT ROWID",
    "CREATE UNIQUE INDEX examples_live ON examples (label, source_sha256) WHERE removed_by IS NULL",
    "CREATE INDEX examples_removed ON examples (removed_by) WHERE removed_by IS NOT NULL",
    "CREATE INDEX examples_added ON examples (added_by)",
    "CREATE INDEX relabelled_operation ON relabelled (operation)",
  ],
  ["ALTER TABLE examples ADD COLUMN stands_for INTEGER NOT NULL DEFAULT 1"],
  [
    "CREATE TABLE merged (" +
      "sha256 BLOB NOT NULL, example INTEGER NOT NULL REFERENCES examples (id) ON DELETE CASCADE, " +
      "PRIMARY KEY (sha256, example)) WITHOUT ROWID",
    "CREATE INDEX merged_example ON merged (example)",
    "CREATE INDEX examples_image ON examples (source_sha256) WHERE removed_by IS NULL",
  ],
];

/**
 * Bring a file to the newest version; a new one gets its tables and `meta`.
 * @param {Database} db
 * @param {Record<string, string>} meta written to a new file only
 * @throws {GalleryError} it is something else's file, or of a later version, or not as tlc makes them
 */
export function upgrade(db, meta) {
  const version = versionOf(db);
  if (version === MIGRATIONS.length) return;
  db.transaction(() => {
    for (const step of MIGRATIONS.slice(version)) for (const statement of step) db.run(statement);
    if (version === 0)
      for (const [key, value] of Object.entries(meta))
        db.run("INSERT INTO meta (key, value) VALUES (?, ?)", key, value);
    db.run(`PRAGMA application_id = ${APPLICATION_ID}`);
    db.run(`PRAGMA user_version = ${MIGRATIONS.length}`);
  });
}

/**
 * Return which version a file has, 0 for an empty one.
 * @param {Database} db
 * @returns {number}
 * @throws {GalleryError} it is something else's file, or of a later version, or not as tlc makes them
 */
export function versionOf(db) {
  const version = db.value("PRAGMA user_version");
  const tables = db.value("SELECT count(*) FROM sqlite_master");
  if (tables === 0 && version === 0) return 0;
  if (db.value("PRAGMA application_id") !== APPLICATION_ID) {
    throw new GalleryError("this is not a gallery of tlc; choose another file");
  }
  if (version < 1) {
    throw new GalleryError(`the gallery has version ${version}, which none has, so it is damaged; choose another file`);
  }
  if (!(version <= MIGRATIONS.length)) {
    throw new GalleryError(
      `the gallery has version ${version}, this page knows 1 to ${MIGRATIONS.length}; build the site with a newer tlc`,
    );
  }
  const foreign = foreignIn(db, MIGRATIONS.slice(0, version));
  if (foreign !== undefined) {
    throw new GalleryError(`the gallery ${foreign}, so it is damaged or was made to do harm; choose another file`);
  }
  return version;
}

/**
 * Return in what a file's tables are not those that tlc makes; undefined where they are.
 * @param {Database} db
 * @param {string[][]} migrations those that it has been through
 * @returns {string | undefined}
 */
function foreignIn(db, migrations) {
  const made = madeBy(migrations.flat());
  /** @type {Map<string, string>} */
  const there = new Map();
  for (const [type, name, sql] of db.rows("SELECT type, name, sql FROM sqlite_master ORDER BY type, name")) {
    const key = `${type} ${name}`;
    if (isOfSqlite(key, sql)) continue;
    if (!made.has(key)) {
      const [what, called] = [String(type).slice(0, 20), JSON.stringify(String(name).slice(0, 40))];
      return `has ${what === "index" ? "an" : "a"} ${what} ${called}, which no gallery has`;
    }
    there.set(key, withoutSpaces(String(sql)));
  }
  for (const [key, sql] of made) {
    const [type, name] = key.split(" ");
    if (!there.has(key)) return `lacks the ${type} "${name}" of a gallery`;
    if (there.get(key) !== sql) return `has a ${type} "${name}" that is not that of a gallery`;
  }
  return undefined;
}

/**
 * Return what SQLite notes of each table and index after these statements, without white space, by type and name.
 * @param {string[]} statements
 * @returns {Map<string, string>}
 */
function madeBy(statements) {
  /** @type {Map<string, string>} */
  const made = new Map();
  for (const statement of statements) {
    const added = /^ALTER TABLE (\w+) ADD COLUMN (.*)$/.exec(statement);
    if (added !== null) {
      const before = /** @type {string} */ (made.get(`table ${added[1]}`));
      // SQLite puts a new column behind the others, before the last bracket.
      const end = before.lastIndexOf(")");
      made.set(`table ${added[1]}`, `${before.slice(0, end)},${withoutSpaces(added[2])}${before.slice(end)}`);
      continue;
    }
    const [, type, name] = /** @type {RegExpExecArray} */ (/^CREATE (?:UNIQUE )?(TABLE|INDEX) (\w+)/.exec(statement));
    made.set(`${type.toLowerCase()} ${name}`, withoutSpaces(statement));
  }
  return made;
}

/**
 * Return whether SQLite keeps it for itself; a name that begins as its names do is not enough.
 * @param {string} key type and name
 * @param {string | null} sql
 * @returns {boolean}
 */
function isOfSqlite(key, sql) {
  if (sql === null) return key.startsWith("index sqlite_autoindex_");
  return /^table sqlite_(sequence|stat[1-4])$/.test(key) && /^CREATE TABLE sqlite_\w+\([\w,]+\)$/.test(sql);
}

/**
 * @param {string} text
 * @returns {string}
 */
function withoutSpaces(text) {
  return text.replace(/\s+/g, "");
}
