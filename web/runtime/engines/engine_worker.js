/**
 * The worker of the engine: prepares images and runs the model, off the page's own thread.
 *
 * A classic worker, not a module: LiteRT.js loads its glue by `importScripts`. What it needs of ours it imports when it
 * is needed.
 */

/** @typedef {import("../images/load.js").Preprocessing} Preprocessing */
/** @typedef {import("../images/load.js").Decoded} Decoded */
/**
 * @typedef {{id: number, kind: "open", model: Uint8Array, lib: string}
 *   | {id: number, kind: "run", pixels: Uint8Array, spec: Preprocessing}
 *   | {id: number, kind: "prepare" | "answer", image: Decoded, spec: Preprocessing}} Task
 */

/** LiteRT.js's folder. */
let litert = "";

/** @type {any} */ (self).Module = { locateFile: (/** @type {string} */ file) => new URL(`wasm/${file}`, litert).href };

/** @type {any} */
let engine;
/** @type {any} */
let model;

/** @type {Promise<unknown>} */
let before = Promise.resolve();

self.onmessage = ({ data }) => {
  // One after the other: the engine has one set of tensors.
  before = before.then(() => answer(data));
};

/** @param {Task} request */
async function answer(request) {
  try {
    const [value, transfer] = await serve(request);
    self.postMessage({ id: request.id, value }, { transfer });
  } catch (error) {
    self.postMessage({ id: request.id, error: error instanceof Error ? error.message : String(error) });
  }
}

/**
 * @param {Task} request
 * @returns {Promise<[unknown, Transferable[]]>}
 */
async function serve(request) {
  if (request.kind === "open") return [await open(request.model, request.lib), []];
  const pixels = request.kind === "run" ? request.pixels : await prepared(request.image, request.spec);
  if (request.kind === "prepare") return [pixels, [pixels.buffer]];
  const { height, width, channels } = request.spec;
  const outputs = await run(pixels, [1, height, width, channels]);
  return [outputs, [outputs.probabilities.buffer, outputs.embedding.buffer]];
}

/**
 * @param {Decoded} image used up
 * @param {Preprocessing} spec
 */
async function prepared(image, spec) {
  const { prepare } = await import("../images/load.js");
  try {
    return await prepare(image, spec);
  } finally {
    if (!(image instanceof ImageData)) image.close();
  }
}

/**
 * @param {Uint8Array} file
 * @param {string} lib
 */
async function open(file, lib) {
  litert = new URL("litert/", lib).href;
  engine ??= await import(new URL("index.js", litert).href);
  await engine.loadLiteRt(new URL("wasm/", litert).href);
  model = await engine.loadAndCompile(file, { accelerator: "wasm" });
  return "LiteRT.js";
}

/**
 * @param {Uint8Array} pixels
 * @param {number[]} shape
 */
async function run(pixels, shape) {
  const input = new engine.Tensor(pixels, shape);
  const outputs = await model.run({ image: input });
  const probabilities = "probabilities" in outputs ? outputs.probabilities.toTypedArray().slice() : new Float32Array(0);
  const embedding = outputs.embedding.toTypedArray().slice();
  // What WebAssembly holds is not collected by itself.
  for (const tensor of [input, ...Object.values(outputs)]) tensor.delete();
  return { probabilities, embedding };
}
