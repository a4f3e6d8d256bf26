// The tfjs knn-classifier for benchmarks/search.py: answers each line "QUERY ADD" with milliseconds.
const fs = require("fs");
const path = require("path");
const [folder, rowsFile, labelsFile, queriesFile, widthText, kText] = process.argv.slice(2);
const from = (name) => require(path.join(path.resolve(folder), "node_modules", name));
const tf = from("@tensorflow/tfjs");
const wasm = from("@tensorflow/tfjs-backend-wasm");
const knn = from("@tensorflow-models/knn-classifier");
const width = Number(widthText);
const k = Number(kText);
const floats = (file) => {
  const bytes = fs.readFileSync(file);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
};

async function main() {
  wasm.setWasmPaths(path.join(path.resolve(folder), "node_modules/@tensorflow/tfjs-backend-wasm/dist/"));
  await tf.setBackend("wasm");
  await tf.ready();
  const rows = floats(rowsFile);
  const queries = floats(queriesFile);
  const labels = new Int32Array(floats(labelsFile).slice().buffer);
  const classifier = knn.create();
  // A class at a time: adding one example copies all of its class.
  const members = new Map();
  labels.forEach((label, i) => members.set(label, [...(members.get(label) || []), i]));
  const dataset = {};
  for (const [label, list] of members) {
    const block = new Float32Array(list.length * width);
    list.forEach((row, i) => block.set(rows.subarray(row * width, (row + 1) * width), i * width));
    dataset[label] = tf.tensor2d(block, [list.length, width]);
  }
  classifier.setClassifierDataset(dataset);
  const query = (i) => tf.tensor2d(queries.slice(i * width, (i + 1) * width), [1, width]);
  const warm = query(0);
  await classifier.predictClass(warm, k);
  console.log("ready " + tf.getBackend());
  for await (const line of require("readline").createInterface({ input: process.stdin })) {
    const [number, add] = line.split(" ").map(Number);
    const image = query(number);
    if (add) classifier.addExample(image, "0");
    const start = process.hrtime.bigint();
    await classifier.predictClass(image, k);
    console.log(String(Number(process.hrtime.bigint() - start) / 1e6));
    image.dispose();
  }
}

main();
