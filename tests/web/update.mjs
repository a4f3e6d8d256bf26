/**
 * Opens a site, teaches it by files, and puts other versions in its place; prints what was there each time, as JSON.
 *
 *   node update.mjs CHROMIUM VERSIONS PICTURE…
 *
 * VERSIONS holds four sites: `first`, `half`, of which not all files are as its list says, `second`, and `model`, which has
 * another model.
 */

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { chromium } from "../../build/node/node_modules/playwright-core/index.mjs";
import { serve } from "./server.mjs";

const [executablePath, versions, ...pictures] = process.argv.slice(2);
const seen = { errors: [] };
const current = path.join(versions, "current");
const server = await serve(current);
const profile = fs.mkdtempSync(path.join(os.tmpdir(), "tlc-update-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  args: ["--no-sandbox"],
  locale: "en",
});
context.setDefaultTimeout(120_000);
const page = context.pages()[0];
page.on("pageerror", (error) => seen.errors.push(error.message));

function put(version) {
  fs.rmSync(current, { force: true });
  fs.symlinkSync(version, current);
}

const isOpen = () => page.waitForFunction(() => document.querySelectorAll("#list li").length > 1);

/** Open the page anew, and wait until what the browser found of a new version is installed, or was refused. */
async function reload() {
  await page.reload();
  await isOpen();
  await page.evaluate(async () => {
    const registration = await navigator.serviceWorker.ready;
    await registration.update().catch(() => {});
    while (registration.installing) await new Promise((resolve) => setTimeout(resolve, 50));
  });
}

/** Put a version there, and let it take over when it is offered. */
async function takeOver(version) {
  put(version);
  await reload();
  await page.waitForSelector("#update", { state: "visible" });
  await Promise.all([page.waitForEvent("load"), page.click("#reload")]);
  await isOpen();
}

function state() {
  return page.evaluate(async () => {
    const style = await (await fetch("page/style.css")).text();
    const buttons = [...document.querySelectorAll("#list .hold")];
    return {
      versions: await caches.keys(),
      isSecond: style.includes("of-the-second-version"),
      classes: Object.fromEntries(buttons.map((b) => [...b.children].map((c) => c.textContent))),
    };
  });
}

try {
  put("first");
  await page.goto(server.url);
  await isOpen();
  await page.fill("#new-name", "mug");
  await page.click("#new-class button");
  await page.locator("#list li", { hasText: "mug" }).locator(".more").click();
  await page.waitForSelector("#class-dialog[open]");
  await page.setInputFiles("#add-files", pictures);
  await page.waitForFunction((n) => document.querySelectorAll("#pictures button").length === n, pictures.length);
  await page.click("#class-close");
  seen.first = await state();

  put("half");
  await reload();
  seen.half = await state();
  seen.offeredHalf = await page.isVisible("#update");

  await takeOver("second");
  seen.second = await state();
  await takeOver("model");
  seen.said = await page.textContent("#notice");
  seen.model = await state();

  await server.close();
  await page.reload();
  await isOpen();
  seen.offline = await state();
  await page.setInputFiles("#open", pictures[0]);
  await page.waitForFunction(() => document.getElementById("best").textContent !== "");
  seen.answer = await page.textContent("#best");
} finally {
  await context.close();
  await server.close();
  fs.rmSync(profile, { recursive: true, force: true });
  process.stdout.write(JSON.stringify(seen));
}
process.exit(0);
