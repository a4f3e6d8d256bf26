/**
 * Frames of a video: their pixels without a canvas, in a tenth of the time, where that gives the same ones.
 */

/** TypeScript does not know the option yet. */
const RGBA = /** @type {VideoFrameCopyToOptions} */ ({ format: "RGBA" });

/**
 * Return what a video shows now, if a copy of the frame is what a canvas would show: neither turned, mirrored,
 * stretched nor transparent.
 * @param {HTMLVideoElement} video
 * @returns {VideoFrame | null}
 */
export function frameOf(video) {
  // Browsers that do not tell how a frame is turned may have turned ones all the same.
  if (!("VideoFrame" in globalThis) || !("rotation" in VideoFrame.prototype)) return null;
  const frame = new VideoFrame(video);
  if (isPlain(frame, video)) return frame;
  frame.close();
  return null;
}

/**
 * Copy a frame's pixels.
 * @param {VideoFrame} frame as `frameOf` returns it
 * @param {Uint8Array<ArrayBuffer>} to RGBA, [height, width, 4]
 */
export async function copyFrame(frame, to) {
  await frame.copyTo(to, RGBA);
}

/**
 * @param {VideoFrame} frame
 * @param {HTMLVideoElement} video
 * @returns {boolean}
 */
function isPlain(frame, video) {
  const { displayWidth: width, displayHeight: height, visibleRect, format } = frame;
  const { rotation, flip } = /** @type {{rotation?: number, flip?: boolean}} */ (/** @type {unknown} */ (frame));
  const isWhole = visibleRect?.width === width && visibleRect.height === height;
  const isShown = video.videoWidth === width && video.videoHeight === height;
  const isOpaque = format !== null && !format.endsWith("A");
  // A browser that does not know the option would give the planes as they are.
  return rotation === 0 && !flip && isWhole && isShown && isOpaque && frame.allocationSize(RGBA) === 4 * width * height;
}
