/** What can name a class. */

import { UsageError } from "../errors.js";

/** Examples of what must not pass for known have this label; a class of that name in a bundle is one like any other. */
export const NONE_OF_THESE = "none of these";
/** Characters. */
export const MAX_LABEL = 200;

// What Python's strip takes away; JavaScript's trim differs by U+FEFF, U+001C to U+001F and U+0085.
const SPACE = "[\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const AROUND = new RegExp(`^${SPACE}+|${SPACE}+$`, "gu");

/**
 * Return the label as stored: NFC, no space around it.
 * @param {string} label
 * @returns {string}
 * @throws {UsageError} it is empty, longer than MAX_LABEL characters, or has control characters
 */
export function cleanLabel(label) {
  const name = label.normalize("NFC").replace(AROUND, "");
  const length = [...name].length;
  if (!length) throw new UsageError("a class needs a name with at least one visible character");
  if (length > MAX_LABEL) throw new UsageError(`the name has ${length} characters; use at most ${MAX_LABEL}`);
  if (/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u.test(name)) {
    throw new UsageError("the name has a control character or line break; leave it out");
  }
  return name;
}

/**
 * Order texts by code point, as Python does; JavaScript's own order is that of UTF-16 units.
 * @param {string} a
 * @param {string} b
 * @returns {number}
 */
export function byCodePoint(a, b) {
  const left = [...a];
  const right = [...b];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const difference = /** @type {number} */ (left[i].codePointAt(0)) - /** @type {number} */ (right[i].codePointAt(0));
    if (difference) return difference;
  }
  return left.length - right.length;
}
