/**
 * The half of benchmarks/browser.py that runs in Chromium: node browser.mjs CHROMIUM SITE ASKED.json FILM.y4m
 *
 * ASKED holds, for each photo, its file, the prepared pixels and what Python made of them; FILM is what the camera shows.
 * Prints figures as JSON.
 */

import fs from "node:fs";
import path from "node:path";
import { serve } from "../tests/web/server.mjs";
import { browse } from "../tests/web/steps.mjs";

const [executablePath, site, asked, film] = process.argv.slice(2);
const photos = JSON.parse(fs.readFileSync(asked, "utf8"));
const server = await serve(site);
const { context, close } = await browse(executablePath, film);
const page = context.pages()[0];
page.setDefaultTimeout(600_000);

/** In the page: the answers to the photos, beside Python's. */
async function compare(photos) {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const cosine = (a, b) => {
    let [ab, aa, bb] = [0, 0, 0];
    a.forEach((x, i) => {
      ab += x * b[i];
      aa += x * x;
      bb += b[i] * b[i];
    });
    return ab / Math.sqrt(aa * bb);
  };
  const found = { equal: 0, largest: 0, decoded: [], answers: 0, scores: 0 };
  for (const { file, pixels, embedding, label, unknown, score } of photos) {
    const same = await globalThis.classifier.engine.run(bytes(pixels));
    const difference = Math.max(...same.embedding.map((x, i) => Math.abs(x - embedding[i])));
    found.equal += difference === 0;
    found.largest = Math.max(found.largest, difference);
    const photo = new File([bytes(file)], "photo.jpg");
    found.decoded.push(cosine(await globalThis.classifier.embed(photo), embedding));
    const answer = await globalThis.classifier.predict(photo);
    found.answers += answer.label === label && answer.unknown === unknown;
    found.scores = Math.max(found.scores, Math.abs(answer.score - score));
  }
  return found;
}

/** In the page: milliseconds of each part, taken in turns. */
async function time(width) {
  const { Bank } = await import("./runtime/knn/bank.js");
  const classifier = globalThis.classifier;
  const { Camera } = await import("./page/camera.js");
  const video = document.body.appendChild(document.createElement("video"));
  await new Camera(video).start();
  const prepared = await classifier.prepare(video);
  const { others } = await import("./others/browser_others.mjs").catch(() => ({ others: () => ({}) }));
  const works = Object.entries({
    label: () => classifier.predict(video),
    bare: () => classifier.engine.run(prepared.pixels),
    prepare: () => classifier.prepare(video),
    ...(await others(video)),
  });
  const taken = { ...Object.fromEntries(works.map(([name]) => [name, []])), enroll: [] };
  const measure = async (name, work) => {
    const start = performance.now();
    await work();
    taken[name].push(performance.now() - start);
  };
  // Each comes after each of the others in turn: what one leaves in the caches is no advantage.
  for (let i = 0; i < 120; i++) {
    for (const [name, work] of works) await measure(name, work);
    const other = 1 + (i % (works.length - 1));
    works.unshift(...works.splice(other));
  }
  for (let i = 0; i < 40; i++) {
    const digest = i.toString(16).padStart(64, "0");
    await measure("enroll", () => classifier.enroll("bench", [{ ...prepared, sha256: digest }]));
  }
  for (const rows of [1000, 20000]) {
    const random = () => Float32Array.from({ length: width }, () => Math.random() - 0.5);
    const exemplars = { vectors: new Float32Array(0), labels: [], lengths: new Float32Array(0) };
    const bank = new Bank(exemplars, ["a"], random());
    const stored = Array.from({ length: rows }, (_, i) => ({
      id: i + 1,
      label: `c${i % 20}`,
      vector: Int8Array.from({ length: width }, () => Math.floor(Math.random() * 255) - 127),
      scale: 0.01,
      standsFor: 1,
    }));
    bank.append(stored);
    taken[`search ${rows}`] = [];
    for (let i = 0; i < 60; i++) {
      const query = random();
      await measure(`search ${rows}`, () => bank.nearby(query, 3));
    }
  }
  return { taken, size: [video.videoWidth, video.videoHeight] };
}

try {
  await page.goto(`${server.url}page/icon.svg`);
  fs.writeFileSync(path.join(site, "bench.html"), "<!doctype html><meta charset=utf-8><title>bench</title>");
  await page.goto(`${server.url}bench.html`);
  const width = await page.evaluate(async () => {
    const { Classifier } = await import("./runtime/classifier.js");
    globalThis.classifier = await Classifier.open("./bundle/");
    return globalThis.classifier.bundle.manifest.embeddingWidth;
  });
  const found = await page.evaluate(compare, photos);
  const times = await page.evaluate(time, width);
  process.stdout.write(JSON.stringify({ ...found, ...times, browser: context.browser()?.version() ?? "" }));
} finally {
  await close();
  await server.close();
}
process.exit(0);
