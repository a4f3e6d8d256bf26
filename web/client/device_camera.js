/** The camera that a device has: its picture is a stream of JPEGs, and what it sees the device answers by itself. */

/** @typedef {import("./api.js").Api} Api */

const TRIES = 10;
const PAUSE = 100; // milliseconds

/** Shows it in an image element. */
export class DeviceCamera {
  /**
   * @param {Api} api of the bundle
   * @param {HTMLImageElement} image
   */
  constructor(api, image) {
    this.api = api;
    this.image = image;
    this.isOn = false;
    /** The frame that was taken last. @type {Blob | undefined} */
    this.before = undefined;
    document.addEventListener("visibilitychange", () => this.again());
  }

  /** Show it. */
  start() {
    this.isOn = true;
    this.again();
  }

  /** Let it go. */
  stop() {
    this.isOn = false;
    this.again();
  }

  /** Begin the stream anew, or end it where nobody looks. */
  again() {
    const isSeen = this.isOn && !document.hidden;
    this.image.hidden = !this.isOn;
    // An address of its own, or the browser shows what it has of a stream that broke.
    if (isSeen) this.image.src = this.api.url("stream.mjpg", { at: String(Date.now()) }).href;
    else this.image.removeAttribute("src");
  }

  /**
   * What it sees now: another frame than the one before, if there is another within a second.
   * @returns {Promise<Blob>} a JPEG
   */
  async frame() {
    for (let tried = 1; ; tried++) {
      const frame = await this.api.blob("frame.jpg");
      if (tried === TRIES || this.before === undefined || !(await isSame(frame, this.before))) {
        this.before = frame;
        return frame;
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }
}

/**
 * @param {Blob} a
 * @param {Blob} b
 * @returns {Promise<boolean>}
 */
async function isSame(a, b) {
  if (a.size !== b.size) return false;
  const [one, other] = [new Uint8Array(await a.arrayBuffer()), new Uint8Array(await b.arrayBuffer())];
  return one.every((byte, i) => byte === other[i]);
}
