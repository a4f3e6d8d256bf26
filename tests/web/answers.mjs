/** Answers the situations of a JSON file with the runtime in JavaScript; prints what it made of them, as JSON. */

import fs from "node:fs";
import { Bank } from "../../web/runtime/knn/bank.js";
import { answer, basis } from "../../web/runtime/knn/prediction.js";
import { unitRows } from "../../web/runtime/vectors.js";

const floats = (text) => new Float32Array(new Uint8Array(Buffer.from(text, "base64")).buffer);
const bytes = (text) => new Int8Array(new Uint8Array(Buffer.from(text, "base64")).buffer);

const found = JSON.parse(fs.readFileSync(process.argv[2], "utf8")).map((one) => {
  const vectors = floats(one.exemplars);
  const exemplars = {
    vectors: unitRows(vectors, one.width).unit,
    labels: one.exemplarLabels,
    lengths: floats(one.lengths),
  };
  const bank = new Bank(exemplars, one.labels, floats(one.shift));
  const rows = bytes(one.rows);
  bank.append(
    one.rowLabels.map((label, i) => ({
      id: i + 1,
      label,
      vector: rows.slice(i * one.width, (i + 1) * one.width),
      scale: one.scales[i],
    })),
  );
  const knownness = {
    shift: floats(one.shift),
    base: floats(one.base),
    examples: one.examples,
    enrolled: one.enrolled.map(floats),
    measured: one.measured && {
      examples: one.examples,
      few: one.measured.few.map(floats),
      claimed: one.measured.claimed.map(floats),
      lengths: one.measured.lengths.map(floats),
    },
  };
  const based = basis(bank, one.decision, knownness, one.rate);
  const queries = floats(one.queries);
  const probabilities = floats(one.probabilities);
  return Array.from({ length: queries.length / one.width }, (_, i) => {
    const head = probabilities.slice(i * one.labels.length, (i + 1) * one.labels.length);
    const said = answer(head, queries.slice(i * one.width, (i + 1) * one.width), based);
    return { ...said, threshold: Number.isFinite(said.threshold) ? said.threshold : null };
  });
});
process.stdout.write(JSON.stringify(found));
