/**
 * Opens a site in Firefox, teaches it by files, and asks its runtime; prints what was seen, as JSON.
 *
 *   node firefox.mjs FIREFOX SITE ASKED.json DOUBTFUL MUGS BOOKS
 *
 * ASKED holds RGBA pictures to prepare, as for pixels.mjs; MUGS and BOOKS are folders of pictures, and DOUBTFUL one of
 * what had better not be taught as a mug.
 */

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { startFirefox } from "./marionette.mjs";
import { serve } from "./server.mjs";

const [executable, site, asked, doubtful, ...classes] = process.argv.slice(2);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "tlc-site-"));
fs.cpSync(site, folder, { recursive: true });
fs.writeFileSync(path.join(folder, "blank.html"), "<!doctype html><title>blank</title>");
const server = await serve(folder);
const firefox = await startFirefox(executable);
const seen = {};

/** What the page shows of an element. */
const shown = (id) => firefox.evaluate((name) => document.getElementById(name).textContent, id);
const isOpen = () => firefox.waitFor(() => document.querySelectorAll("#list li").length > 1);

const inside = (one) =>
  fs
    .readdirSync(one)
    .sort()
    .map((name) => path.join(one, name));

async function teach(label, pictures, count = pictures.length) {
  await firefox.evaluate((name) => {
    document.getElementById("new-name").value = name;
    document.querySelector("#new-class button").click();
  }, label);
  await firefox.waitFor((name) => {
    const row = document.querySelector(`#list li[data-label=${name}]`);
    row?.querySelector(".more").click();
    return row !== null;
  }, label);
  await firefox.waitFor(() => document.getElementById("class-dialog").open);
  await firefox.choose("#add-files", pictures);
  await firefox.waitFor((n) => document.querySelectorAll("#pictures button").length === n, count);
  await firefox.evaluate(() => document.getElementById("class-close").click());
}

/** In the page: pictures prepared with SIMD and without. */
async function prepareAll(url) {
  const { prepareRgba } = await import("./runtime/images/load.js");
  const { Resizer } = await import("./runtime/images/resize_simd.js");
  const text = (pixels) => btoa(pixels.reduce((all, byte) => all + String.fromCharCode(byte), ""));
  const simd = Resizer.open();
  return (await (await fetch(url)).json()).map(({ rgba, from, spec }) => {
    const pixels = Uint8ClampedArray.from(atob(rgba), (c) => c.charCodeAt(0));
    return [null, simd].map((one) => text(prepareRgba(pixels, from, spec, one)));
  });
}

/** In the page: what the runtime makes of pictures, and the gallery's file. */
async function askRuntime(urls) {
  const { Classifier } = await import("./runtime/classifier.js");
  const classifier = await Classifier.open("./bundle/");
  const answers = [];
  for (const url of urls) {
    const blob = await (await fetch(url)).blob();
    const { label, score, unknown } = await classifier.predict(blob);
    answers.push({ label, score, unknown, embedding: [...(await classifier.embed(blob))] });
  }
  const bytes = new Uint8Array(await (await classifier.exportGallery()).arrayBuffer());
  const gallery = btoa(bytes.reduce((all, byte) => all + String.fromCharCode(byte), ""));
  const taught = Object.fromEntries(await classifier.classes());
  await classifier.close();
  return { answers, gallery, taught };
}

try {
  await firefox.goto(server.url);
  await isOpen();
  seen.browser = await firefox.evaluate(() => navigator.userAgent);
  const files = classes.map(inside);
  for (const [i, one] of classes.entries()) await teach(path.basename(one), files[i]);
  seen.pages = [];
  for (const [first] of files) {
    const before = await shown("best");
    await firefox.choose("#open", [first]);
    await firefox.waitFor((text) => document.getElementById("best").textContent !== text, before);
    seen.pages.push(await shown("best"));
  }
  // Undone: only what was said of them counts.
  await teach(path.basename(classes[0]), inside(doubtful), files[0].length + 1);
  seen.doubts = await shown("notice");
  await firefox.evaluate(() => document.getElementById("undo").click());
  await firefox.waitFor(() => document.getElementById("notice").textContent === "Undone.");

  await firefox.evaluate(() => document.getElementById("selftest").click());
  await firefox.waitFor(() => document.getElementById("selftest-result").textContent !== "");
  seen.selftest = await shown("selftest-result");

  fs.copyFileSync(asked, path.join(folder, "asked.json"));
  files.forEach((all, i) => {
    fs.copyFileSync(all[0], path.join(folder, `${i}.png`));
  });
  await firefox.goto(`${server.url}blank.html`);
  seen.pixels = await firefox.evaluate(prepareAll, "asked.json");
  Object.assign(
    seen,
    await firefox.evaluate(
      askRuntime,
      files.map((_, i) => `${i}.png`),
    ),
  );
  // Without the host, the page goes on, and what it was taught is there.
  await server.close();
  await firefox.goto(server.url);
  await isOpen();
  seen.offline = await firefox.evaluate(() => document.querySelector("#list li[data-label=mug] .hold").textContent);
} finally {
  firefox.end();
  await server.close();
  fs.rmSync(folder, { recursive: true, force: true });
  await new Promise((resolve) => process.stdout.write(JSON.stringify(seen), resolve));
}
process.exit(0);
