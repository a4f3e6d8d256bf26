/** How many examples a gallery keeps, per class and in all, and which become one when there are more. */

import { byCodePoint } from "./labels.js";
import { join, signed } from "./merging.js";
import { groups, runs, unitOf } from "./thinning.js";

/** @typedef {import("./database.js").Database} Database */
/** Bounds on the number of examples; 0 is none. @typedef {{perClass: number, total: number}} Limits */

/** @type {Limits} */
const USUAL = { perClass: 500, total: 20_000 };

/**
 * Return the limits set in this gallery, or the usual ones.
 * @param {Database} db
 * @returns {Limits}
 */
export function readLimits(db) {
  const found = new Map(
    /** @type {[string, string][]} */ (db.rows("SELECT key, value FROM meta WHERE key IN ('per_class', 'total')")),
  );
  return {
    perClass: Number(found.get("per_class") ?? USUAL.perClass),
    total: Number(found.get("total") ?? USUAL.total),
  };
}

/**
 * Set the limits; no example goes yet.
 * @param {Database} db
 * @param {Limits} limits
 */
export function writeLimits(db, limits) {
  for (const [key, value] of [
    ["per_class", limits.perClass],
    ["total", limits.total],
  ]) {
    db.run(
      "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
      key,
      String(value),
    );
  }
}

/**
 * Return how many examples each class has to give up; for the total, the largest classes do. Every class keeps one.
 * @param {Limits} limits
 * @param {Map<string, number>} classes
 * @returns {Map<string, number>}
 */
export function excessOf(limits, classes) {
  const kept = new Map([...classes].map(([label, n]) => [label, Math.min(n, limits.perClass || n)]));
  let over = limits.total ? [...kept.values()].reduce((a, b) => a + b, 0) - limits.total : 0;
  while (over > 0) {
    const [label, most] = [...kept].reduce((a, b) =>
      b[1] > a[1] || (b[1] === a[1] && byCodePoint(b[0], a[0]) < 0) ? b : a,
    );
    if (most < 2) break;
    kept.set(label, most - 1);
    over--;
  }
  const excess = new Map();
  for (const [label, n] of classes) {
    const stays = kept.get(label) ?? n;
    if (n > stays) excess.set(label, n - stays);
  }
  return excess;
}

/**
 * Merge examples, as part of an operation, until the limits hold; return how many fewer there are.
 * @param {Database} db
 * @param {Map<string, number>} classes
 * @param {number} operation
 * @returns {number}
 */
export function makeRoom(db, classes, operation) {
  let gone = 0;
  for (const [label, count] of excessOf(readLimits(db), classes)) {
    thin(db, label, count, operation);
    gone += count;
  }
  return gone;
}

/**
 * Take back what an operation changed of the limits. And, last first, of what examples stand for: before there were
 * merged rows, one gave way to another, which then stood for both.
 * @param {Database} db
 * @param {number} operation
 */
export function takeLimitsBack(db, operation) {
  const detail = JSON.parse(db.value("SELECT detail FROM operations WHERE id = ?", operation));
  if (detail.limits) writeLimits(db, { perClass: Number(detail.limits[0]), total: Number(detail.limits[1]) });
  for (const [row, heir] of [...(detail.gone ?? [])].reverse()) {
    db.run(
      "UPDATE examples SET stands_for = stands_for - (SELECT stands_for FROM examples WHERE id = ?) WHERE id = ?",
      row,
      heir,
    );
  }
}

/**
 * @param {Database} db
 * @param {string} label
 * @param {number} count
 * @param {number} operation
 */
function thin(db, label, count, operation) {
  // A run keeps one row at least: where fewer than there are runs may stay, there is more to do.
  for (let left = count; left > 0; ) {
    const found = db.rows(
      "SELECT id, vector, stands_for FROM examples WHERE label = ? AND removed_by IS NULL ORDER BY id",
      label,
    );
    left = Math.min(left, found.length - 1);
    for (const { start, end, share } of runs(found.length, left, operation)) {
      if (!share) continue;
      const run = found.slice(start, end);
      const unit = unitOf(run.map(([, vector]) => signed(vector)));
      const numbers = run.map(([, , standsFor]) => standsFor);
      for (const group of groups(unit, numbers, share)) {
        join(
          db,
          label,
          group.map((row) => run[row][0]),
          operation,
        );
        left -= group.length - 1;
      }
    }
  }
}
