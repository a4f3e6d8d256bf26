/** What happens on a device, as it tells it: the stream is kept open while the page is seen, and opened again when it broke. */

const SHORTEST = 500; // milliseconds until the first try after a break
const LONGEST = 8000;

/** A stream of events that comes back. */
export class Events extends EventTarget {
  /**
   * Listen to the device. Of its own are `lost` and `found`; all others are the device's, with its document as `detail`.
   * @param {URL} url
   * @param {string[]} kinds that the device sends
   */
  constructor(url, kinds) {
    super();
    this.url = url;
    this.kinds = kinds;
    this.isLost = false;
    this.wait = SHORTEST;
    /** @type {EventSource | undefined} */
    this.source = undefined;
    this.timer = 0;
    // A page that nobody sees takes none of the few connections that a browser makes to one host.
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#close() : this.#open()));
    addEventListener("online", () => this.#again());
    if (!document.hidden) this.#open();
  }

  /** The device was not reached: look whether it is there. */
  doubt() {
    if (!this.isLost) this.#again();
  }

  /** Wait until the device greets the next time. @returns {Promise<void>} */
  untilFound() {
    return new Promise((resolve) => this.addEventListener("hello", () => resolve(), { once: true }));
  }

  #open() {
    if (this.source !== undefined) return;
    const source = new EventSource(this.url);
    this.source = source;
    source.addEventListener("hello", () => this.#found());
    for (const kind of this.kinds) {
      source.addEventListener(kind, (event) => {
        const detail = JSON.parse(/** @type {MessageEvent} */ (event).data);
        this.dispatchEvent(new CustomEvent(kind, { detail }));
      });
    }
    source.onerror = () => this.#lose();
  }

  #close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = undefined;
  }

  #again() {
    this.#close();
    if (!document.hidden) this.#open();
  }

  #found() {
    this.wait = SHORTEST;
    if (!this.isLost) return;
    this.isLost = false;
    this.dispatchEvent(new Event("found"));
  }

  /** Nothing comes any more: say so, and try again after a while, which grows. */
  #lose() {
    this.#close();
    if (!this.isLost) {
      this.isLost = true;
      this.dispatchEvent(new Event("lost"));
    }
    // Not all viewers come back in the same instant.
    this.timer = setTimeout(() => this.#again(), this.wait * (0.75 + Math.random() / 2));
    this.wait = Math.min(LONGEST, 2 * this.wait);
  }
}
