/**
 * Opens a site where something is wrong, in Chromium, and prints what the page says, as JSON.
 *
 *   node trouble.mjs CHROMIUM SITE PICTURE…
 */

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { chromium } from "../../build/node/node_modules/playwright-core/index.mjs";
import { serve } from "./server.mjs";

const [executablePath, site, ...pictures] = process.argv.slice(2);
const seen = {};
const server = await serve(site);
const port = new URL(server.url).port;
const profile = fs.mkdtempSync(path.join(os.tmpdir(), "tlc-trouble-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  // A name that is not this machine's to the browser, so that the page is no secure one.
  args: ["--no-sandbox", "--host-resolver-rules=MAP plain.example 127.0.0.1"],
  locale: "en",
});
context.setDefaultTimeout(60_000);

/** Open the site in a tab that lacks or breaks something, and return what the page says. */
async function says(url, change) {
  const page = await context.newPage();
  if (change !== undefined) await page.addInitScript(change);
  await page.goto(url);
  await page.waitForFunction(() => !/^$|…$/.test(document.getElementById("status").textContent));
  const text = await page.textContent("#status");
  await page.close();
  return text;
}

const isOpen = (page) => page.waitForFunction(() => document.querySelectorAll("#list li").length > 1);
const notice = (page, has) =>
  page.waitForFunction((part) => document.getElementById("notice").textContent.includes(part), has);

/** Let go of files over a row of the list. */
async function drop(page, row, files) {
  const given = files.map((file) => [path.basename(file), fs.readFileSync(file).toString("base64")]);
  await page.evaluate(
    ([selector, all]) => {
      const dataTransfer = new DataTransfer();
      for (const [name, text] of all)
        dataTransfer.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
      const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
      document.querySelector(selector).dispatchEvent(event);
    },
    [row, given],
  );
}

try {
  seen.http = await says(`http://plain.example:${port}/`);
  seen.old = await says(server.url, () => {
    delete globalThis.OffscreenCanvas;
  });
  // A browser that decodes otherwise.
  seen.selftest = await says(server.url, () => {
    const decode = globalThis.createImageBitmap;
    globalThis.createImageBitmap = (source) => decode(source, { imageOrientation: "flipY" });
  });

  const page = await context.newPage();
  await page.goto(server.url);
  await isOpen(page);
  seen.camera = await page.getAttribute("#take", "capture");
  for (const label of ["mug", "cup"]) {
    await page.fill("#new-name", label);
    await page.click("#new-class button");
    await page.waitForSelector(`#list li[data-label=${label}]`);
  }
  await drop(page, "#list li[data-label=mug] .hold", pictures);
  await notice(page, "learned");
  seen.dropped = await page.textContent("#list li[data-label=mug] .hold");
  await drop(page, "#stage", pictures.slice(0, 1));
  await page.waitForFunction(() => document.getElementById("best").textContent !== "");
  seen.opened = await page.textContent("#best");
  // What is a mug already is taught as a cup.
  await drop(page, "#list li[data-label=cup] .hold", pictures.slice(0, 2));
  await notice(page, "cup: ");
  seen.alike = await page.textContent("#notice");
  seen.classes = await page.$$eval("#list .hold", (all) => all.map((one) => one.textContent));

  const devtools = await context.newCDPSession(page);
  await devtools.send("Storage.overrideQuotaForOrigin", { origin: new URL(server.url).origin, quotaSize: 1 });
  // Noise is what packs worst: some megabytes of it.
  await page.evaluate(async () => {
    const dataTransfer = new DataTransfer();
    for (let i = 0; i < 60; i++) {
      const image = new ImageData(224, 224);
      for (let at = 0; at < image.data.length; at++) image.data[at] = at % 4 === 3 ? 255 : 256 * Math.random();
      const canvas = new OffscreenCanvas(224, 224);
      canvas.getContext("2d").putImageData(image, 0, 0);
      dataTransfer.items.add(new File([await canvas.convertToBlob()], `${i}.png`));
    }
    const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
    document.querySelector("#list li[data-label=cup] .hold").dispatchEvent(event);
  });
  await page.waitForFunction((before) => document.getElementById("notice").textContent !== before, seen.alike);
  seen.full = await page.textContent("#notice");
  await devtools.send("Storage.overrideQuotaForOrigin", { origin: new URL(server.url).origin });
  await page.reload();
  await isOpen(page);
  seen.after = await page.$$eval("#list .hold", (all) => all.map((one) => one.textContent));
} finally {
  await context.close();
  await server.close();
  fs.rmSync(profile, { recursive: true, force: true });
  process.stdout.write(JSON.stringify(seen));
}
process.exit(0);
