/**
 * An SQLite database as the gallery uses it: SQLite's own WebAssembly build, a few calls of it.
 */

/**
 * What of `sqlite3.oo1.DB` is used.
 * @typedef {{exec(options: {sql: string, bind?: unknown[], returnValue?: "resultRows", rowMode?: "array"}): unknown,
 *   changes(): number, close(): void}} Connection
 *
 * @typedef {string | number | null | Uint8Array} Value
 */

/** One connection. */
export class Database {
  /** @param {Connection} connection */
  constructor(connection) {
    this.connection = connection;
  }

  /**
   * Run one statement; return how many rows it changed.
   * @param {string} sql
   * @param {Value[]} bind
   * @returns {number}
   */
  run(sql, ...bind) {
    this.connection.exec(bind.length ? { sql, bind } : { sql });
    return this.connection.changes();
  }

  /**
   * Return the rows that a query gives.
   * @param {string} sql
   * @param {Value[]} bind
   * @returns {any[][]}
   */
  rows(sql, ...bind) {
    const options = { sql, returnValue: /** @type {const} */ ("resultRows"), rowMode: /** @type {const} */ ("array") };
    return /** @type {any[][]} */ (this.connection.exec(bind.length ? { ...options, bind } : options));
  }

  /**
   * Return the first value that a query gives, undefined for none.
   * @param {string} sql
   * @param {Value[]} bind
   * @returns {any}
   */
  value(sql, ...bind) {
    return this.rows(sql, ...bind)[0]?.[0];
  }

  /**
   * Do all of it or nothing: it is on disk when this returns.
   * @template T
   * @param {() => T} work
   * @returns {T}
   */
  transaction(work) {
    this.run("BEGIN IMMEDIATE");
    try {
      const result = work();
      this.run("COMMIT");
      return result;
    } catch (error) {
      try {
        this.run("ROLLBACK");
      } catch {
        // A full disk, say, has ended it already; what is told is why.
      }
      throw error;
    }
  }
}
