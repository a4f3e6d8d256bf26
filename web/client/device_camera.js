/** The camera that a device has: its picture is a stream of JPEGs, and what it sees the device answers by itself. */

/** @typedef {import("./api.js").Api} Api */

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

  /** What it sees now. @returns {Promise<Blob>} a JPEG */
  frame() {
    return this.api.blob("frame.jpg");
  }
}
