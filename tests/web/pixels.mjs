/**
 * Prepares the RGBA pictures of a JSON file with the runtime in JavaScript; prints the pixels of each, in plain
 * JavaScript and with SIMD, as JSON.
 */

import fs from "node:fs";
import { prepareRgba } from "../../web/runtime/images/load.js";
import { Resizer } from "../../web/runtime/images/resize_simd.js";

const simd = Resizer.open();
if (simd === null) throw new Error("this Node.js has no SIMD");
const found = JSON.parse(fs.readFileSync(process.argv[2], "utf8")).map(({ rgba, from, spec }) => {
  const pixels = new Uint8ClampedArray(Buffer.from(rgba, "base64"));
  return [null, simd].map((one) => Buffer.from(prepareRgba(pixels, from, spec, one)).toString("base64"));
});
// As where WebAssembly has no SIMD, or there is none.
delete globalThis.WebAssembly;
process.stdout.write(JSON.stringify({ found, without: Resizer.open() }));
