/**
 * What a file says of its picture and browsers pass over: how a WebP is turned, pixels of 16 bits, transparency.
 */

/** @typedef {{hasAlpha: boolean, isDeep: boolean, orientation: number}} Told */

/** Nothing that matters. @type {Told} */
const PLAIN = { hasAlpha: false, isDeep: false, orientation: 1 };
/** The tag of EXIF that tells how the picture is turned. */
const ORIENTATION = 0x0112;
const WEBP_ALPHA = 0x10;
/** More pieces than a WebP with one picture has; frames of a film come in one each. */
const MOST_CHUNKS = 1000;
/** A WebP of 1 × 2 pixels that is to be turned to 2 × 1. */
const TURNED =
  "UklGRk4AAABXRUJQVlA4WAoAAAAIAAAAAAAAAQAAVlA4TA4AAAAvAEAAAAcQEf0PRET/A0VYSUYaAAAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAA=";
/** Whether this browser turns WebP pictures itself. @type {Promise<boolean> | undefined} */
let turning;

/**
 * Read what the file says.
 * @param {Blob} file
 * @returns {Promise<Told>}
 */
export async function readTold(file) {
  const head = await view(file, 0, 30);
  if (head.byteLength < 30) return PLAIN;
  if (head.getUint32(0) === 0x89504e47) {
    const colour = head.getUint8(25);
    return { hasAlpha: colour === 4 || colour === 6, isDeep: head.getUint8(24) === 16, orientation: 1 };
  }
  if (head.getUint32(0) !== 0x52494646 || head.getUint32(8) !== 0x57454250) return PLAIN; // RIFF, WEBP
  const kind = head.getUint32(12);
  if (kind === 0x5650384c) return { ...PLAIN, hasAlpha: (head.getUint8(24) & 0x10) !== 0 }; // VP8L
  if (kind !== 0x56503858) return PLAIN; // VP8X: what has more than a picture
  return { ...PLAIN, hasAlpha: (head.getUint8(20) & WEBP_ALPHA) !== 0, orientation: await webpOrientation(file) };
}

/**
 * Whether this browser leaves WebP pictures as they lie in the file; Chromium does.
 * @returns {Promise<boolean>}
 */
export async function leavesWebp() {
  turning ??= probe();
  return !(await turning);
}

/**
 * Turn a picture upright.
 * @param {ImageData} image
 * @param {number} orientation as EXIF has it, 2 to 8
 * @returns {ImageData}
 */
export function upright(image, orientation) {
  const isOnItsSide = orientation > 4;
  const width = isOnItsSide ? image.height : image.width;
  const height = isOnItsSide ? image.width : image.height;
  const turned = new ImageData(width, height);
  const from = new Uint32Array(image.data.buffer);
  const to = new Uint32Array(turned.data.buffer);
  const right = image.width - 1;
  const bottom = image.height - 1;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let [column, row] = isOnItsSide ? [y, x] : [x, y];
      if ([2, 3, 7, 8].includes(orientation)) column = right - column;
      if ([3, 4, 6, 7].includes(orientation)) row = bottom - row;
      to[at++] = from[row * image.width + column];
    }
  }
  return turned;
}

/** @returns {Promise<boolean>} */
async function probe() {
  const bytes = Uint8Array.from(atob(TURNED), (c) => c.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], { type: "image/webp" }));
  const { width } = image;
  image.close();
  return width === 2;
}

/**
 * @param {Blob} file
 * @returns {Promise<number>}
 */
async function webpOrientation(file) {
  for (let at = 12, seen = 0; at + 8 <= file.size && seen < MOST_CHUNKS; seen++) {
    const chunk = await view(file, at, 8);
    const length = chunk.getUint32(4, true);
    if (chunk.getUint32(0) === 0x45584946) return exifOrientation(await view(file, at + 8, Math.min(length, 1 << 16)));
    at += 8 + length + (length % 2);
  }
  return 1;
}

/**
 * @param {DataView} exif a TIFF file, maybe after "Exif" and two zeros
 * @returns {number} 1 where it says nothing that can be
 */
function exifOrientation(exif) {
  const start = exif.byteLength > 6 && exif.getUint32(0) === 0x45786966 ? 6 : 0;
  if (exif.byteLength < start + 8) return 1;
  const isLittle = exif.getUint16(start) === 0x4949;
  const first = start + exif.getUint32(start + 4, isLittle);
  if (exif.byteLength < first + 2) return 1;
  const count = exif.getUint16(first, isLittle);
  for (let at = first + 2; at < first + 2 + 12 * count && at + 12 <= exif.byteLength; at += 12) {
    if (exif.getUint16(at, isLittle) !== ORIENTATION) continue;
    const found = exif.getUint16(at + 8, isLittle);
    return found >= 1 && found <= 8 ? found : 1;
  }
  return 1;
}

/**
 * @param {Blob} file
 * @param {number} at
 * @param {number} length
 * @returns {Promise<DataView>} shorter where the file ends
 */
async function view(file, at, length) {
  return new DataView(await file.slice(at, at + length).arrayBuffer());
}
