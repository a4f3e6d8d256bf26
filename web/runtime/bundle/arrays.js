/**
 * Arrays from an `.npz` that is part of a bundle: a ZIP whose members are stored as they are, each an `.npy`.
 */

const KINDS = new Map(
  /** @type {[string, (data: ArrayBuffer) => Numbers][]} */ ([
    ["|i1", (data) => new Int8Array(data)],
    ["|u1", (data) => new Uint8Array(data)],
    ["<i2", (data) => new Int16Array(data)],
    ["<u2", (data) => new Uint16Array(data)],
    ["<i4", (data) => new Int32Array(data)],
    ["<u4", (data) => new Uint32Array(data)],
    ["<f4", (data) => new Float32Array(data)],
    ["<f8", (data) => new Float64Array(data)],
    ["<i8", (data) => Float64Array.from(new BigInt64Array(data), Number)],
  ]),
);

/**
 * @typedef {Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | Float32Array | Float64Array}
 * Numbers
 * @typedef {{data: Numbers, shape: number[]}} Plain
 */

/**
 * Return the arrays of an `.npz` by name.
 * @param {Uint8Array} bytes
 * @returns {Map<string, Plain>}
 * @throws {RangeError} it is no such archive, or a member is compressed or no plain array of numbers
 */
export function readArrays(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** @type {Map<string, Plain>} */
  const arrays = new Map();
  for (const { name, start, size } of members(view)) {
    const member = bytes.subarray(start, start + size);
    if (member.length !== size) throw new RangeError(`${name} is longer than the archive`);
    arrays.set(name.replace(/\.npy$/, ""), readArray(member, name));
  }
  return arrays;
}

/**
 * Where the members lie, by the archive's central directory.
 * @param {DataView} view
 * @returns {{name: string, start: number, size: number}[]}
 */
function members(view) {
  let end = view.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new RangeError("not a ZIP archive");
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  const found = [];
  for (let i = 0; i < count; i++) {
    if (view.getUint32(at, true) !== 0x02014b50) throw new RangeError("a damaged ZIP archive");
    const nameLength = view.getUint16(at + 28, true);
    const name = new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset + at + 46, nameLength));
    if (view.getUint16(at + 10, true) !== 0) throw new RangeError(`${name} is compressed`);
    const header = view.getUint32(at + 42, true);
    const start = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
    found.push({ name, start, size: view.getUint32(at + 24, true) });
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return found;
}

/**
 * @param {Uint8Array} member
 * @param {string} name
 * @returns {Plain}
 */
function readArray(member, name) {
  const text = new TextDecoder();
  if (member[0] !== 0x93 || text.decode(member.subarray(1, 6)) !== "NUMPY")
    throw new RangeError(`${name} is not an array`);
  const wide = member[6] >= 2;
  const view = new DataView(member.buffer, member.byteOffset, member.byteLength);
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const start = (wide ? 12 : 10) + length;
  const header = text.decode(member.subarray(wide ? 12 : 10, start));
  const kind = /'descr': '([^']+)'/.exec(header)?.[1] ?? "";
  const shape = /'shape': \(([^)]*)\)/.exec(header)?.[1];
  const make = KINDS.get(kind);
  if (make === undefined || shape === undefined || !header.includes("'fortran_order': False")) {
    throw new RangeError(`${name} holds ${kind || "something else"}, expected plain numbers in rows`);
  }
  const sizes = shape
    .split(",")
    .filter((part) => part.trim())
    .map(Number);
  const data = make(member.slice(start).buffer);
  if (sizes.reduce((a, b) => a * b, 1) !== data.length) throw new RangeError(`${name} does not fit its shape`);
  return { data, shape: sizes };
}
