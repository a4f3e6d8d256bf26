/** Answers the situations of a JSON file with the runtime in JavaScript; prints what it made of them, as JSON. */

import fs from "node:fs";
import { Bank } from "../../web/runtime/knn/bank.js";
import { answer, basis } from "../../web/runtime/knn/prediction.js";
import { KNOWNNESS, readKnownness } from "../../web/runtime/knn/unknown.js";
import { unitRows } from "../../web/runtime/vectors.js";

const floats = (text) => new Float32Array(new Uint8Array(Buffer.from(text, "base64")).buffer);
const bytes = (text) => new Int8Array(new Uint8Array(Buffer.from(text, "base64")).buffer);

const found = [];
for (const one of JSON.parse(fs.readFileSync(process.argv[2], "utf8"))) {
  const vectors = floats(one.exemplars);
  const exemplars = {
    vectors: unitRows(vectors, one.width).unit,
    labels: one.exemplarLabels,
    lengths: floats(one.lengths),
  };
  const manifest = {
    embeddingWidth: one.width,
    unknown: { scores: [...floats(one.base)] },
    files: new Map([[KNOWNNESS, ""]]),
  };
  const read = async () => new Uint8Array(Buffer.from(one.knownness, "base64"));
  const knownness = await readKnownness({ manifest, read });
  const bank = new Bank(exemplars, one.labels, knownness.shift, knownness.unwanted);
  const rows = bytes(one.rows);
  bank.append(
    one.rowLabels.map((label, i) => ({
      id: i + 1,
      label,
      vector: rows.slice(i * one.width, (i + 1) * one.width),
      scale: one.scales[i],
      standsFor: one.standFor[i],
    })),
  );
  const based = basis(bank, one.decision, knownness, one.rate);
  const queries = floats(one.queries);
  const probabilities = floats(one.probabilities);
  const answers = Array.from({ length: queries.length / one.width }, (_, i) => {
    const head = probabilities.slice(i * one.labels.length, (i + 1) * one.labels.length);
    const said = answer(head, queries.slice(i * one.width, (i + 1) * one.width), based);
    return { ...said, threshold: Number.isFinite(said.threshold) ? said.threshold : null };
  });
  found.push(answers);
}
process.stdout.write(JSON.stringify(found));
