/**
 * WebAssembly from its text format: as much of that as resize_simd.js is written in. Expressions are folded, locals and
 * labels have names, memory is exported, and nothing is imported.
 *
 * Source: WebAssembly Core Specification, chapters 5 (binary format) and 6 (text format).
 */

/** @typedef {string | any[]} Node a word, or a list of nodes */

const TYPES = { i32: 0x7f, v128: 0x7b };

/** Instructions by their names: the opcode, and which immediates follow it. @type {Record<string, [number[], string]>} */
const INSTRUCTIONS = {
  "i32.const": [[0x41], "number"],
  "i32.load": [[0x28], "memory"],
  "i32.add": [[0x6a], ""],
  "i32.mul": [[0x6c], ""],
  "i32.lt_u": [[0x49], ""],
  "local.get": [[0x20], "local"],
  "local.set": [[0x21], "local"],
  br_if: [[0x0d], "label"],
  "v128.load": [[0xfd, 0x00], "memory"],
  "v128.load32_splat": [[0xfd, 0x09], "memory"],
  "v128.store": [[0xfd, 0x0b], "memory"],
  "v128.store32_lane": [[0xfd, 0x5a], "memory lane"],
  "i8x16.shuffle": [[0xfd, 0x0d], "lanes"],
  "i32x4.splat": [[0xfd, 0x11], ""],
  "i8x16.narrow_i16x8_u": [[0xfd, 0x66], ""],
  "i16x8.narrow_i32x4_s": [[0xfd, 0x85, 0x01], ""],
  "i16x8.extend_low_i8x16_u": [[0xfd, 0x89, 0x01], ""],
  "i16x8.extend_high_i8x16_u": [[0xfd, 0x8a, 0x01], ""],
  "i32x4.shl": [[0xfd, 0xab, 0x01], ""],
  "i32x4.shr_s": [[0xfd, 0xac, 0x01], ""],
  "i32x4.add": [[0xfd, 0xae, 0x01], ""],
  "i32x4.dot_i16x8_s": [[0xfd, 0xba, 0x01], ""],
};

/**
 * Return a module's bytes.
 * @param {string} text `(module (memory (export "memory") PAGES) (func (export NAME) (param $a i32) (local $b v128) …) …)`
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function assemble(text) {
  const [, memory, ...functions] = /** @type {Node[][]} */ (parse(text));
  const made = functions.map(functionOf);
  const exported = [exportOf(/** @type {string[]} */ (memory[1])[1], 2, 0)];
  for (const [i, { name }] of made.entries()) exported.push(exportOf(name, 0, i));
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, vector(made.map(({ type }) => type))),
    ...section(3, vector(made.map((_, i) => unsigned(i)))),
    ...section(5, vector([[0x00, ...unsigned(Number(memory[2]))]])),
    ...section(7, vector(exported)),
    ...section(10, vector(made.map(({ code }) => [...unsigned(code.length), ...code]))),
  ]);
}

/**
 * Return the first expression of a text, as nested lists.
 * @param {string} text
 * @returns {Node[]}
 */
function parse(text) {
  const tokens = text.replace(/;;.*/g, "").match(/[()]|[^\s()]+/g) ?? [];
  /** @type {Node[][]} */
  const open = [[]];
  for (const token of tokens) {
    if (token === "(") open.push([]);
    else if (token === ")") {
      const closed = /** @type {Node[]} */ (open.pop());
      open[open.length - 1].push(closed);
    } else open[open.length - 1].push(token);
  }
  return /** @type {Node[]} */ (open[0][0]);
}

/**
 * @param {Node[]} expression
 * @returns {{name: string, type: number[], code: number[]}}
 */
function functionOf([, exported, ...rest]) {
  const parts = /** @type {Node[][]} */ (rest);
  const named = (/** @type {string} */ kind) =>
    /** @type {[string, string, "i32" | "v128"][]} */ (parts.filter(([head]) => head === kind));
  const [params, locals] = [named("param"), named("local")];
  const names = [...params, ...locals].map(([, name]) => name);
  const body = parts.slice(names.length).flatMap((one) => emit(one, names, []));
  return {
    name: /** @type {string[]} */ (exported)[1],
    type: [0x60, ...vector(params.map(([, , type]) => [TYPES[type]])), 0x00],
    code: [...vector(locals.map(([, , type]) => [0x01, TYPES[type]])), ...body, 0x0b],
  };
}

/**
 * Return an expression's bytes: its operands, then itself.
 * @param {Node[]} expression
 * @param {string[]} locals
 * @param {string[]} labels the innermost last
 * @returns {number[]}
 */
function emit([head, ...rest], locals, labels) {
  if (head === "loop") {
    const [label, ...body] = rest;
    const inside = [...labels, String(label)];
    return [0x03, 0x40, ...body.flatMap((one) => emit(/** @type {Node[]} */ (one), locals, inside)), 0x0b];
  }
  const instruction = INSTRUCTIONS[String(head)];
  if (instruction === undefined) throw new SyntaxError(`no instruction ${head}`);
  const operands = /** @type {Node[][]} */ (rest.filter((one) => Array.isArray(one)));
  const given = /** @type {string[]} */ (rest.filter((one) => !Array.isArray(one)));
  const own = immediates(instruction[1], given, locals, labels);
  return [...operands.flatMap((one) => emit(one, locals, labels)), ...instruction[0], ...own];
}

/**
 * @param {string} kind
 * @param {string[]} given
 * @param {string[]} locals
 * @param {string[]} labels
 * @returns {number[]}
 */
function immediates(kind, given, locals, labels) {
  const found = (/** @type {string[]} */ among) => {
    const at = among.lastIndexOf(given[0]);
    if (at < 0) throw new SyntaxError(`nothing is called ${given[0]}`);
    return at;
  };
  const offset = given.find((one) => one.startsWith("offset="))?.slice(7) ?? "0";
  // Of memory: no alignment is promised.
  const memory = [0x00, ...unsigned(Number(offset))];
  switch (kind) {
    case "number":
      return signed(Number(given[0]));
    case "local":
      return unsigned(found(locals));
    case "label":
      return unsigned(labels.length - 1 - found(labels));
    case "memory":
      return memory;
    case "memory lane":
      return [...memory, Number(given[given.length - 1])];
    default:
      return given.map(Number);
  }
}

/**
 * @param {string} name in quotes
 * @param {number} kind
 * @param {number} index
 * @returns {number[]}
 */
function exportOf(name, kind, index) {
  const bytes = [...new TextEncoder().encode(name.slice(1, -1))];
  return [...unsigned(bytes.length), ...bytes, kind, ...unsigned(index)];
}

/**
 * @param {number} id
 * @param {number[]} contents
 * @returns {number[]}
 */
function section(id, contents) {
  return [id, ...unsigned(contents.length), ...contents];
}

/**
 * @param {number[][]} items
 * @returns {number[]}
 */
function vector(items) {
  return [...unsigned(items.length), ...items.flat()];
}

/**
 * LEB128.
 * @param {number} value
 * @returns {number[]}
 */
function unsigned(value) {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

/**
 * @param {number} value
 * @returns {number[]}
 */
function signed(value) {
  return value >= -0x40 && value < 0x40 ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signed(value >> 7)];
}
