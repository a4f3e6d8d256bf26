/** What a person does on the page, and what they see there: for the tests that use it in Chromium. */

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { chromium } from "../../build/node/node_modules/playwright-core/index.mjs";

export const SCENES = { red: [200, 30, 30], blue: [30, 30, 200], green: [30, 160, 30] };
const PATIENCE = 120_000;

/** Start a browser the size of a phone, whose camera shows a film. */
export async function browse(executablePath, film, more = []) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "tlc-page-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    args: [
      "--no-sandbox",
      "--use-fake-ui-for-media-stream",
      "--use-fake-device-for-media-stream",
      `--use-file-for-fake-video-capture=${film}`,
      ...more,
    ],
    viewport: { width: 390, height: 844 },
    acceptDownloads: true,
    locale: "en",
  });
  context.setDefaultTimeout(PATIENCE);
  return {
    context,
    close: async () => {
      await context.close();
      fs.rmSync(profile, { recursive: true, force: true });
    },
  };
}

/** Wait until an image or a video shows a scene, with a second of it to come. */
export async function scene(page, name) {
  const shows = ([[red, green, blue], isIt]) => {
    const canvas = new OffscreenCanvas(8, 8);
    const context = canvas.getContext("2d");
    context.drawImage(document.getElementById("video"), 0, 0, 8, 8, 0, 0, 8, 8);
    const [r, g, b] = context.getImageData(2, 2, 1, 1).data;
    return Math.abs(r - red) + Math.abs(g - green) + Math.abs(b - blue) < 120 === isIt;
  };
  await page.waitForFunction(shows, [SCENES[name], false]);
  await page.waitForFunction(shows, [SCENES[name], true]);
  await page.waitForTimeout(400);
}

export const best = (page) => page.textContent("#best");

export const counts = (page) =>
  page.$$eval("#list .hold", (all) => Object.fromEntries(all.map((b) => [...b.children].map((c) => c.textContent))));

/** Wait until a class has examples: so many, or any. */
export const learned = (page, label, count = undefined) =>
  page.waitForFunction(
    ([l, n]) =>
      [...document.querySelectorAll("#list .hold")].some(
        (b) =>
          b.children[0].textContent === l &&
          (n === null ? b.children[1].textContent !== "0" : b.children[1].textContent === String(n)),
      ),
    [label, count ?? null],
  );

/** Hold the button of a class for a while. */
export async function hold(page, label) {
  const button = page.locator("#list .hold", { hasText: label });
  await button.evaluate((b) => b.scrollIntoView({ block: "start" }));
  const { x, y } = await button.boundingBox();
  await page.mouse.move(x + 20, y + 15);
  await page.mouse.down();
  await page.waitForTimeout(1500);
  await page.mouse.up();
}

/** Hold the button of a class, once the camera shows a scene, and wait until it is learned. */
export async function teach(page, label, name) {
  if (!(label in (await counts(page)))) {
    await page.fill("#new-name", label);
    await page.click("#new-class button");
  }
  if (name !== undefined) await scene(page, name);
  await hold(page, label);
  await page.waitForFunction(
    (l) => document.getElementById("notice").textContent.startsWith(`${l}: `) && !document.querySelector(".holding"),
    label,
  );
  await learned(page, label);
}

export async function answers(page) {
  const found = {};
  for (const name of Object.keys(SCENES)) {
    await scene(page, name);
    found[name] = await best(page);
  }
  return found;
}

/** What the camera shows now, as a PNG file. */
export async function photograph(page, file) {
  const url = await page.evaluate(() => {
    const video = document.getElementById("video");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    return canvas.toDataURL("image/png");
  });
  fs.writeFileSync(file, Buffer.from(url.split(",")[1], "base64"));
}
