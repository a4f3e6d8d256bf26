/** Prepares the RGBA pictures of a JSON file with the runtime in JavaScript; prints the pixels, as JSON. */

import fs from "node:fs";
import { flatten } from "../../web/runtime/images/load.js";
import { resize } from "../../web/runtime/images/resize.js";

const found = JSON.parse(fs.readFileSync(process.argv[2], "utf8")).map(({ rgba, from, spec }) => {
  const flat = flatten(new Uint8ClampedArray(Buffer.from(rgba, "base64")), spec);
  return Buffer.from(resize(flat, from, spec, spec.channels, spec.passes)).toString("base64");
});
process.stdout.write(JSON.stringify(found));
