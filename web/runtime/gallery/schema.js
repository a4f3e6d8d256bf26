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
  const foreign = db.value(
    "SELECT type || ' ' || name FROM sqlite_master WHERE type NOT IN ('table', 'index') LIMIT 1",
  );
  const columns = db.rows("SELECT name FROM pragma_table_info('examples')").map(([name]) => name);
  if (foreign !== undefined || !columns.includes("source_sha256")) {
    throw new GalleryError(
      `the gallery has ${foreign ?? "other tables"}, which none of tlc's has: it is damaged or was made to do harm`,
    );
  }
  return version;
}
