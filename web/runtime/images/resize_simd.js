/**
 * The filter of resize.js in WebAssembly with SIMD, to the same bytes: RGBA in, RGBA out, some four times as fast.
 *
 * A coefficient has up to 23 bits, and the instruction that multiplies and adds pairs takes 16: so each is split into
 * `high` and `low` of 11 bits, summed apart and put together before the shift. Channels lie side by side in one vector.
 */

import { assemble } from "./assembler.js";
import { isVerticalFirst, tapsOf } from "./resize.js";

/** @typedef {{width: number, height: number}} Size */

const SOURCE = `
(module (memory (export "memory") 1)

  ;; Each of $rows rows of pixels gets another width. For each pixel there is its first tap's offset in the row at
  ;; $starts, and at $weights as many groups of four taps as for all others: high0 high1 low0 low1 high2 high3 low2 low3.
  (func (export "across")
    (param $from i32) (param $stride i32) (param $rows i32) (param $to i32) (param $width i32)
    (param $starts i32) (param $weights i32) (param $groups i32)
    (local $y i32) (local $x i32) (local $p i32) (local $w i32) (local $end i32)
    (local $pixels v128) (local $pair v128) (local $high v128) (local $low v128)
    (loop $row
      (local.set $x (i32.const 0))
      (local.set $w (local.get $weights))
      (loop $pixel
        (local.set $p (i32.add (local.get $from)
          (i32.load (i32.add (local.get $starts) (i32.mul (local.get $x) (i32.const 4))))))
        (local.set $end (i32.add (local.get $w) (i32.mul (local.get $groups) (i32.const 16))))
        (local.set $high (i32x4.splat (i32.const 0)))
        (local.set $low (i32x4.splat (i32.const 2097152)))
        (loop $tap
          (local.set $pixels (v128.load (local.get $p)))
          ;; r0 r1 g0 g1 b0 b1 a0 a1, each of 16 bits
          (local.set $pair (i8x16.shuffle 0 16 4 16 1 16 5 16 2 16 6 16 3 16 7 16
            (local.get $pixels) (i32x4.splat (i32.const 0))))
          (local.set $high (i32x4.add (local.get $high)
            (i32x4.dot_i16x8_s (local.get $pair) (v128.load32_splat (local.get $w)))))
          (local.set $low (i32x4.add (local.get $low)
            (i32x4.dot_i16x8_s (local.get $pair) (v128.load32_splat offset=4 (local.get $w)))))
          (local.set $pair (i8x16.shuffle 8 16 12 16 9 16 13 16 10 16 14 16 11 16 15 16
            (local.get $pixels) (i32x4.splat (i32.const 0))))
          (local.set $high (i32x4.add (local.get $high)
            (i32x4.dot_i16x8_s (local.get $pair) (v128.load32_splat offset=8 (local.get $w)))))
          (local.set $low (i32x4.add (local.get $low)
            (i32x4.dot_i16x8_s (local.get $pair) (v128.load32_splat offset=12 (local.get $w)))))
          (local.set $p (i32.add (local.get $p) (i32.const 16)))
          (local.set $w (i32.add (local.get $w) (i32.const 16)))
          (br_if $tap (i32.lt_u (local.get $w) (local.get $end))))
        (local.set $low (i32x4.shr_s
          (i32x4.add (i32x4.shl (local.get $high) (i32.const 11)) (local.get $low)) (i32.const 22)))
        (local.set $low (i16x8.narrow_i32x4_s (local.get $low) (local.get $low)))
        (v128.store32_lane 0 (local.get $to) (i8x16.narrow_i16x8_u (local.get $low) (local.get $low)))
        (local.set $to (i32.add (local.get $to) (i32.const 4)))
        (local.set $x (i32.add (local.get $x) (i32.const 1)))
        (br_if $pixel (i32.lt_u (local.get $x) (local.get $width))))
      (local.set $from (i32.add (local.get $from) (local.get $stride)))
      (local.set $y (i32.add (local.get $y) (i32.const 1)))
      (br_if $row (i32.lt_u (local.get $y) (local.get $rows)))))

  ;; Columns get another height. For each row there is its first tap's offset at $starts, and at $weights as many pairs
  ;; of taps as for all others: high0 high1 low0 low1. Goes by 16 bytes, over a row's end into the next, which is later.
  (func (export "down")
    (param $from i32) (param $stride i32) (param $rows i32) (param $to i32)
    (param $starts i32) (param $weights i32) (param $pairs i32)
    (local $y i32) (local $x i32) (local $p i32) (local $w i32) (local $end i32)
    (local $upper v128) (local $lower v128) (local $both v128) (local $wh v128) (local $wl v128)
    (local $high0 v128) (local $high1 v128) (local $high2 v128) (local $high3 v128)
    (local $low0 v128) (local $low1 v128) (local $low2 v128) (local $low3 v128)
    (loop $row
      (local.set $x (i32.const 0))
      (loop $block
        (local.set $p (i32.add (i32.add (local.get $from) (local.get $x))
          (i32.load (i32.add (local.get $starts) (i32.mul (local.get $y) (i32.const 4))))))
        (local.set $w (local.get $weights))
        (local.set $end (i32.add (local.get $w) (i32.mul (local.get $pairs) (i32.const 8))))
        ${[0, 1, 2, 3].map((i) => `(local.set $high${i} (i32x4.splat (i32.const 0)))`).join(" ")}
        ${[0, 1, 2, 3].map((i) => `(local.set $low${i} (i32x4.splat (i32.const 2097152)))`).join(" ")}
        (loop $tap
          (local.set $upper (v128.load (local.get $p)))
          (local.set $lower (v128.load (i32.add (local.get $p) (local.get $stride))))
          (local.set $wh (v128.load32_splat (local.get $w)))
          (local.set $wl (v128.load32_splat offset=4 (local.get $w)))
          ${down("low", "0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23", 0)}
          ${down("high", "8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31", 2)}
          (local.set $p (i32.add (local.get $p) (i32.mul (local.get $stride) (i32.const 2))))
          (local.set $w (i32.add (local.get $w) (i32.const 8)))
          (br_if $tap (i32.lt_u (local.get $w) (local.get $end))))
        (v128.store (i32.add (local.get $to) (local.get $x)) (i8x16.narrow_i16x8_u
          (i16x8.narrow_i32x4_s ${shifted(0)} ${shifted(1)})
          (i16x8.narrow_i32x4_s ${shifted(2)} ${shifted(3)})))
        (local.set $x (i32.add (local.get $x) (i32.const 16)))
        (br_if $block (i32.lt_u (local.get $x) (local.get $stride))))
      (local.set $weights (local.get $end))
      (local.set $to (i32.add (local.get $to) (local.get $stride)))
      (local.set $y (i32.add (local.get $y) (i32.const 1)))
      (br_if $row (i32.lt_u (local.get $y) (local.get $rows)))))
)`;

/**
 * Two rows' bytes side by side, and the sums of eight of them.
 * @param {string} half
 * @param {string} lanes
 * @param {number} first
 */
function down(half, lanes, first) {
  const sums = (/** @type {string} */ extended, /** @type {number} */ i) => `
          (local.set $both (i16x8.extend_${extended}_i8x16_u
            (i8x16.shuffle ${lanes} (local.get $upper) (local.get $lower))))
          (local.set $high${i} (i32x4.add (local.get $high${i}) (i32x4.dot_i16x8_s (local.get $both) (local.get $wh))))
          (local.set $low${i} (i32x4.add (local.get $low${i}) (i32x4.dot_i16x8_s (local.get $both) (local.get $wl))))`;
  return `;; the ${half} eight${sums("low", first)}${sums("high", first + 1)}`;
}

/** @param {number} i */
function shifted(i) {
  const sum = `(i32x4.add (i32x4.shl (local.get $high${i}) (i32.const 11)) (local.get $low${i}))`;
  return `(i32x4.shr_s ${sum} (i32.const 22))`;
}

const PAGE = 65536;
const SPLIT = 11; // bits of a coefficient's lower half
const KEPT = 64 * 1024 * 1024; // bytes of memory that are kept for the next image

/** What resizes RGBA pixels that lie in its own memory. */
export class Resizer {
  /**
   * @returns {Resizer | null} null where there is no SIMD
   */
  static open() {
    try {
      return new Resizer(new WebAssembly.Module(assemble(SOURCE)));
    } catch {
      return null;
    }
  }

  /** @param {WebAssembly.Module} module */
  constructor(module) {
    this.module = module;
    this.kernels = /** @type {any} */ (new WebAssembly.Instance(module).exports);
  }

  /**
   * Where the pixels of an image are to be put; valid until the next call.
   * @param {Size} size
   * @returns {Uint8Array<ArrayBuffer>} RGBA, [height, width, 4]
   */
  room({ width, height }) {
    if (this.kernels.memory.buffer.byteLength > KEPT) this.kernels = new WebAssembly.Instance(this.module).exports;
    return this.#bytes(0, 4 * width * height);
  }

  /**
   * Resize what was put into `room`.
   * @param {Size} from
   * @param {Size} to
   * @param {string} passes as in resize.js
   * @returns {Uint8Array<ArrayBuffer>} RGBA, [height, width, 4]; valid until the next call
   */
  resize(from, to, passes) {
    let [at, size] = [0, from];
    const order = ["width", "height"];
    if (isVerticalFirst(from, to, passes)) order.reverse();
    for (const side of /** @type {("width" | "height")[]} */ (order)) {
      if (size[side] === to[side]) continue;
      const next = { ...size, [side]: to[side] };
      at = this.#pass(at, size, next);
      size = next;
    }
    return this.#bytes(at, 4 * to.width * to.height);
  }

  /**
   * @param {number} at where the pixels are
   * @param {Size} size
   * @param {Size} next differs in one side
   * @returns {number} where the new ones are
   */
  #pass(at, size, next) {
    const [stride, isAcross] = [4 * size.width, size.height === next.height];
    const to = aligned(at + stride * size.height);
    const tables = isAcross ? tablesOf(size.width, next.width, 4, 4) : tablesOf(size.height, next.height, 2, stride);
    const starts = aligned(to + 4 * next.width * next.height + 16);
    const weights = aligned(starts + tables.starts.byteLength);
    // Taps that are nothing are read too, past the end.
    const end = weights + tables.weights.byteLength + 16 + tables.groups * (isAcross ? 16 : 2 * stride);
    this.#bytes(0, end);
    const { memory, across, down } = this.kernels;
    new Int32Array(memory.buffer, starts, tables.starts.length).set(tables.starts);
    new Int16Array(memory.buffer, weights, tables.weights.length).set(tables.weights);
    if (isAcross) across(at, stride, size.height, to, next.width, starts, weights, tables.groups);
    else down(at, stride, next.height, to, starts, weights, tables.groups);
    return to;
  }

  /**
   * @param {number} at
   * @param {number} length
   * @returns {Uint8Array<ArrayBuffer>}
   */
  #bytes(at, length) {
    const { memory } = this.kernels;
    const lacking = at + length - memory.buffer.byteLength;
    if (lacking > 0) memory.grow(Math.ceil(lacking / PAGE));
    return new Uint8Array(memory.buffer, at, length);
  }
}

/**
 * Return what the kernels read: offsets of first taps, and split coefficients, in equal numbers of groups.
 * @param {number} from
 * @param {number} to
 * @param {number} group taps in a group
 * @param {number} step bytes from tap to tap
 * @returns {{starts: Int32Array, weights: Int16Array, groups: number}}
 */
function tablesOf(from, to, group, step) {
  const { starts, counts, weights, taps } = tapsOf(from, to);
  const groups = Math.ceil(Math.max(...counts) / group);
  const split = new Int16Array(to * groups * group * 2);
  for (let i = 0; i < to; i++) {
    for (let k = 0; k < counts[i]; k++) {
      const weight = weights[i * taps + k];
      // Pairs: two high halves, then two low ones.
      const at = 2 * (i * groups * group + (k & ~1)) + (k & 1);
      split[at] = weight >> SPLIT;
      split[at + 2] = weight & ((1 << SPLIT) - 1);
    }
  }
  return { starts: starts.map((start) => start * step), weights: split, groups };
}

/**
 * @param {number} offset
 * @returns {number}
 */
function aligned(offset) {
  return Math.ceil(offset / 16) * 16;
}
