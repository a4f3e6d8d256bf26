/** What looks wrong about the new examples of a JSON file, as the runtime in JavaScript finds it; prints it, as JSON. */

import fs from "node:fs";
import { isOneColour } from "../../web/runtime/images/nothing.js";
import { Bank } from "../../web/runtime/knn/bank.js";
import { blurLimit, Doubts, sharpness } from "../../web/runtime/knn/enroll_warnings.js";
import { unitRows } from "../../web/runtime/vectors.js";

const asked = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const floats = (text) => new Float32Array(bytes(text).buffer);

const looks = asked.pictures.map(({ pixels, ...shape }) => ({
  sharpness: sharpness(bytes(pixels), shape),
  isBlank: isOneColour(bytes(pixels), shape),
}));
const limits = asked.references.map((one) => blurLimit(one)).map((limit) => (Number.isFinite(limit) ? limit : null));

const warnings = [];
for (const one of asked.situations) {
  const exemplars = {
    vectors: unitRows(floats(one.exemplars), one.width).unit,
    labels: one.exemplarLabels,
    lengths: floats(one.lengths),
  };
  const bank = new Bank(exemplars, one.labels, new Float32Array(one.width));
  const rows = new Int8Array(bytes(one.rows).buffer);
  bank.append(
    one.rowLabels.map((label, i) => ({
      id: i + 1,
      label,
      vector: rows.slice(i * one.width, (i + 1) * one.width),
      scale: one.scales[i],
    })),
  );
  const queries = floats(one.queries);
  const doubts = new Doubts(
    async () => asked.golden,
    async (jpeg) => jpeg[0] / -10,
  );
  // A stored picture stands for its sharpness: JPEGs are the browser's to decode.
  const gallery = {
    labelsOf: async (all) => all.map((sha256) => one.held[sha256] ?? []),
    examples: async (label) => one.rowLabels.flatMap((name, i) => (name === label ? [{ id: i }] : [])),
    thumbnail: async (id) => (id % 3 ? Uint8Array.of(id % 30) : null),
  };
  const said = [];
  for (const { label, examples } of one.steps) {
    const fresh = examples.map(({ query, ...rest }) => ({
      ...rest,
      embedding: queries.slice(query * one.width, (query + 1) * one.width),
    }));
    said.push(await doubts.about(label, fresh, bank, gallery));
  }
  warnings.push(said);
}
process.stdout.write(JSON.stringify({ looks, limits, warnings }));
