/** Exact search for the rows nearest to an embedding: one product of all rows. */

/**
 * Rows of unit length, float32, that can be added to and searched. Space is taken ahead, so adding one costs little.
 */
export class FloatRows {
  /** @param {number} width D */
  constructor(width) {
    this.width = width;
    this.count = 0;
    this.data = new Float32Array(0);
  }

  /**
   * Add rows [n, D] behind the others.
   * @param {Float32Array} unit
   */
  append(unit) {
    const needed = this.count * this.width + unit.length;
    if (needed > this.data.length) {
      const longer = new Float32Array(Math.max(needed, Math.ceil(this.data.length * 1.25)));
      longer.set(this.data.subarray(0, this.count * this.width));
      this.data = longer;
    }
    this.data.set(unit, this.count * this.width);
    this.count += unit.length / this.width;
  }

  /**
   * Return one row, a view.
   * @param {number} row
   * @returns {Float32Array} [D]
   */
  take(row) {
    return this.data.subarray(row * this.width, (row + 1) * this.width);
  }

  /**
   * Return the product of every row with `unit`.
   * @param {Float32Array} unit [D]
   * @returns {Float32Array} [N]
   */
  products(unit) {
    const { width, data, count } = this;
    const out = new Float32Array(count);
    const whole = width - (width % 4);
    for (let row = 0, at = 0; row < count; row++, at += width) {
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      // Four sums side by side: the processor need not wait for one to go on with the next.
      for (let j = 0; j < whole; j += 4) {
        a += data[at + j] * unit[j];
        b += data[at + j + 1] * unit[j + 1];
        c += data[at + j + 2] * unit[j + 2];
        d += data[at + j + 3] * unit[j + 3];
      }
      for (let j = whole; j < width; j++) a += data[at + j] * unit[j];
      out[row] = a + b + (c + d);
    }
    return out;
  }

  /**
   * Return the k rows of highest product and these, best first; the earlier row wins a tie.
   * @param {Float32Array} unit [D]
   * @param {number} k
   * @returns {{rows: number[], products: number[]}}
   */
  nearest(unit, k) {
    return highest(this.products(unit), k);
  }
}

/**
 * Return the indices of the k highest values and these, best first; the earlier wins a tie.
 * @param {Float32Array} values
 * @param {number} k
 * @returns {{rows: number[], products: number[]}}
 */
export function highest(values, k) {
  /** @type {number[]} */
  const rows = [];
  /** @type {number[]} */
  const products = [];
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (rows.length === k && value <= products[k - 1]) continue;
    let at = rows.length;
    while (at > 0 && products[at - 1] < value) at--;
    rows.splice(at, 0, i);
    products.splice(at, 0, value);
    if (rows.length > k) {
      rows.pop();
      products.pop();
    }
  }
  return { rows, products };
}
