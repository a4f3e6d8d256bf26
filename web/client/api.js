/** The API of a device: requests, its refusals as errors in words, and a second try where it asks for one. */

import * as errors from "../runtime/errors.js";

const KINDS = new Map(Object.entries(errors));
const TRIES = 4;
const LONGEST_WAIT = 10; // seconds that a person waits for a device that is busy
const AGAIN = 2000; // milliseconds until a device that did not answer is asked again, where nobody says that it is there
const PATIENCE = 60_000; // milliseconds without an answer after which the device is taken for gone

/** The device does not answer, or not like one. */
export class UnreachableError extends errors.TlcError {}

/** There is no such thing on the device. */
export class NotThereError extends errors.TlcError {}

/** The device does not let us: a token is missing or wrong, or may only look. */
export class RefusedError extends errors.TlcError {}

/** One part of a device's API, such as that of one bundle. */
export class Api {
  /**
   * @param {URL} base with a slash at its end
   * @param {{unreachable: string}} said what is said where nothing answers
   */
  constructor(base, said) {
    this.base = base;
    this.said = said;
    /** Called with whether the latest request reached the device. @type {(reached: boolean) => void} */
    this.onReached = () => {};
    /** Resolves when the device is there again. @type {() => Promise<void>} */
    this.untilFound = () => new Promise((resolve) => setTimeout(resolve, AGAIN));
  }

  /**
   * The address of something.
   * @param {string} path "" is the part itself, which is no folder
   * @param {Record<string, string>} query
   * @returns {URL}
   */
  url(path, query = {}) {
    const url = new URL(path || this.base.href.replace(/\/$/, ""), this.base);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    return url;
  }

  /** @param {string} path @param {Record<string, string>} [query] @returns {Promise<any>} the JSON document there */
  async get(path, query) {
    return (await this.ask("GET", path, { query })).json();
  }

  /** @param {string} path @returns {Promise<Blob>} the bytes there */
  async blob(path) {
    return (await this.ask("GET", path)).blob();
  }

  /**
   * @param {string} path
   * @param {object} document sent as JSON
   * @returns {Promise<any>}
   */
  async post(path, document) {
    const headers = { "content-type": "application/json" };
    return (await this.ask("POST", path, { body: JSON.stringify(document), headers })).json();
  }

  /**
   * @param {string} path
   * @param {Blob | FormData} body
   * @param {Record<string, string>} [query]
   * @returns {Promise<any>}
   */
  async send(path, body, query) {
    return (await this.ask("POST", path, { body, query })).json();
  }

  /**
   * Send what may come twice without harm, as examples may: the device knows one that it has. Where the device is gone,
   * this waits until it is back.
   * @param {string} path
   * @param {FormData} body
   * @param {Record<string, string>} [query]
   * @returns {Promise<any>}
   */
  async sendSurely(path, body, query) {
    for (;;) {
      try {
        return await this.send(path, body, query);
      } catch (error) {
        if (!(error instanceof UnreachableError)) throw error;
        await this.untilFound();
      }
    }
  }

  /**
   * Ask, and where the device is too busy to begin, again after the time that it names.
   * @param {string} method
   * @param {string} path
   * @param {{body?: BodyInit, headers?: Record<string, string>, query?: Record<string, string>}} options
   * @returns {Promise<Response>}
   * @throws {UnreachableError | RefusedError | errors.TlcError}
   */
  async ask(method, path, { body, headers, query } = {}) {
    for (let tried = 1; ; tried++) {
      const response = await this.#fetch(this.url(path, query), { method, body, headers });
      if (response.ok) return response;
      const wait = Number(response.headers.get("retry-after") ?? Number.NaN);
      const isBusy = [429, 503].includes(response.status) && wait <= LONGEST_WAIT;
      if (!isBusy || tried === TRIES) throw await errorOf(response);
      await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
    }
  }

  /**
   * @param {URL} url
   * @param {RequestInit} options
   * @returns {Promise<Response>}
   */
  async #fetch(url, options) {
    try {
      const signal = AbortSignal.timeout?.(PATIENCE);
      const response = await fetch(url, { ...options, signal, cache: "no-store", credentials: "same-origin" });
      this.onReached(true);
      return response;
    } catch {
      this.onReached(false);
      throw new UnreachableError(this.said.unreachable);
    }
  }
}

/**
 * @param {Response} response
 * @returns {Promise<Error>}
 */
async function errorOf(response) {
  let what = `${response.status} ${response.statusText}`.trim();
  let kind = "";
  try {
    const { error } = await response.json();
    // `{"error": "…"}` is what others say, who stand between.
    if (typeof error === "string") what = error;
    else if (typeof error.what === "string") ({ what, kind } = error);
  } catch {
    // Whatever stands between, a proxy for one, answers in its own words.
  }
  if ([401, 403].includes(response.status)) return new RefusedError(what);
  if (response.status === 404) return new NotThereError(what);
  if ([502, 504].includes(response.status)) return new UnreachableError(what);
  return new (KINDS.get(kind) ?? errors.TlcError)(what);
}
