/** The camera, front or back, as a stream of frames. */

import { text } from "./texts.js";

/** Why there is no camera, by the browser's name for it. @type {Record<string, string>} */
const REASONS = {
  NotAllowedError: "noPermission",
  NotFoundError: "noCamera",
  OverconstrainedError: "noCamera",
  NotReadableError: "busyCamera",
};

/** A camera that shows itself in a video element. */
export class Camera {
  /** @param {HTMLVideoElement} video */
  constructor(video) {
    this.video = video;
    this.facing = "environment";
    /** @type {MediaStream | undefined} */
    this.stream = undefined;
  }

  /**
   * Ask for the camera.
   * @returns {Promise<void>}
   * @throws {Error} in words: there is none, it is not allowed, or busy
   */
  async start() {
    if (!Camera.isAllowed) throw new Error(text("notSecure"));
    this.stop();
    try {
      const size = { width: { ideal: 1280 }, height: { ideal: 720 } };
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: this.facing, ...size } });
    } catch (error) {
      throw new Error(text(REASONS[/** @type {Error} */ (error).name] ?? "noCamera"));
    }
    this.video.srcObject = this.stream;
    const facing = this.stream.getVideoTracks()[0]?.getSettings().facingMode;
    this.video.classList.toggle("front", facing === "user");
    await this.video.play();
    this.video.hidden = false;
  }

  /** Take the camera on the other side. */
  async flip() {
    this.facing = this.facing === "user" ? "environment" : "user";
    await this.start();
  }

  /** Whether the browser gives cameras to this page at all: over plain http it does not. */
  static get isAllowed() {
    return navigator.mediaDevices?.getUserMedia !== undefined;
  }

  /** Let the camera go. */
  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = undefined;
    this.video.hidden = true;
  }

  /** Whether frames come. */
  get isOn() {
    return this.stream !== undefined && this.video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
  }

  /** Whether there is more than one. @returns {Promise<boolean>} */
  async hasOther() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    return devices.filter(({ kind }) => kind === "videoinput").length > 1;
  }
}
