/**
 * A page of one's own, with the package as npm installs it, in Chromium; prints what it made of pictures, as JSON.
 *
 *   node own.mjs CHROMIUM FOLDER PICTURE…
 *
 * FOLDER has node_modules/tlc-edge and a site.
 */

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { chromium } from "../../build/node/node_modules/playwright-core/index.mjs";
import { serve } from "./server.mjs";

const [executablePath, folder, ...pictures] = process.argv.slice(2);
// As an import map, a bundler would find it by its name.
const entry = `./node_modules/tlc-edge/${JSON.parse(fs.readFileSync(path.join(folder, "node_modules/tlc-edge/package.json"), "utf8")).exports["."]}`;
fs.writeFileSync(
  path.join(folder, "index.html"),
  `<!doctype html><title>own</title><script type="importmap">${JSON.stringify({ imports: { "tlc-edge": entry } })}</script>`,
);
pictures.forEach((picture, i) => {
  fs.copyFileSync(picture, path.join(folder, `${i}.png`));
});
const server = await serve(folder);
const profile = fs.mkdtempSync(path.join(os.tmpdir(), "tlc-own-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  args: ["--no-sandbox"],
});
const page = context.pages()[0];
try {
  await page.goto(server.url);
  const seen = await page.evaluate(async (count) => {
    const { Classifier } = await import("tlc-edge");
    const classifier = await Classifier.open("./site/bundle", { lib: "./site/lib" });
    const files = [];
    for (let i = 0; i < count; i++) files.push(await (await fetch(`${i}.png`)).blob());
    const before = await classifier.predict(files[0]);
    const change = await classifier.enroll("mug", files);
    const after = await classifier.predict(files[0]);
    await classifier.close();
    return { before: before.label, added: change.added, after: after.label };
  }, pictures.length);
  process.stdout.write(JSON.stringify(seen));
} finally {
  await context.close();
  await server.close();
  fs.rmSync(profile, { recursive: true, force: true });
}
process.exit(0);
