/**
 * Uses a site as a person would, in Chromium with a camera that shows a film; prints what was seen, as JSON.
 *
 *   node page.mjs CHROMIUM SITE FILM.y4m GALLERY OUT
 *
 * The film shows three scenes in turn, told by the colour of their corner: red, blue and green. GALLERY is a file that
 * tlc made; OUT takes the exported gallery, pictures of the scenes, and screenshots of every view, light and dark.
 */

import path from "node:path";
import { audit } from "./audit.mjs";
import { serve } from "./server.mjs";
import { answers, best, browse, counts, photograph, scene, teach } from "./steps.mjs";

const [executable, site, film, gallery, out] = process.argv.slice(2);
const seen = { foreign: [], errors: [], serious: [], wide: {} };

const server = await serve(site);
const { context, close } = await browse(executable, film);
const page = context.pages()[0];
page.on("request", (request) => {
  if (/^https?:/.test(request.url()) && !request.url().startsWith(server.url)) seen.foreign.push(request.url());
});
page.on("pageerror", (error) => seen.errors.push(error.message));

try {
  await page.goto(server.url);
  await page.waitForFunction(() => document.getElementById("best").textContent !== "");
  await teach(page, "mug", "red");
  await teach(page, "book", "blue");
  seen.taught = await counts(page);
  seen.answers = await answers(page);
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: path.join(out, "phone.png") });
  await page.click("#why");
  await page.waitForFunction(() => !document.getElementById("reasons").hidden);
  seen.why = await page.$$eval("#reasons figcaption", (all) => all.map((one) => one.textContent));
  await audit(page, "why", seen, out);
  await page.click("#about-button");
  await page.waitForSelector("#about-dialog[open]");
  await audit(page, "about", seen, out);
  for (const language of ["de", "ar"]) {
    await page.selectOption("#language", language);
    await page.click("#about-close");
    await audit(page, language, seen, out);
    seen[language] = await page.evaluate(() => [
      document.documentElement.dir,
      document.querySelector("h2").textContent,
    ]);
    await page.click("#about-button");
  }
  await page.selectOption("#language", "en");
  await page.click("#about-close");
  // As on a desk, with the camera, the answer and what is taught side by side.
  await page.setViewportSize({ width: 1000, height: 620 });
  await page.emulateMedia({ colorScheme: "dark" });
  await scene(page, "blue");
  const before = await page.$eval("#reasons", (reasons) => reasons.innerHTML);
  await page.click("#why");
  await page.waitForFunction((html) => document.getElementById("reasons").innerHTML !== html, before);
  await page.screenshot({ path: path.join(out, "desk.png") });
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 390, height: 844 });

  for (const name of ["red", "blue"]) {
    await scene(page, name);
    await photograph(page, path.join(out, `${name}.png`));
    await page.setInputFiles("#open", path.join(out, `${name}.png`));
    await page.waitForFunction(() => !document.getElementById("still").hidden);
    seen[`${name}.png`] = await best(page);
    await page.click("#camera-on");
    await page.waitForFunction(() => !document.getElementById("video").hidden);
  }

  seen.frames = await page.evaluate(async () => {
    const { decode, prepare } = await import("./runtime/images/load.js");
    const video = document.getElementById("video");
    video.pause();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    const spec = { width: 50, height: 60, channels: 3, passes: "tall-vertical", background: [255, 255, 255] };
    const [frame, drawn] = [await decode(video), await decode(canvas)];
    const kind = frame.constructor.name;
    const pixels = [await prepare(frame, spec), await prepare(drawn, spec)];
    await video.play();
    return { kind, equal: pixels[0].every((value, i) => value === pixels[1][i]), spread: new Set(pixels[0]).size };
  });

  await page.locator("#list li", { hasText: "mug" }).locator(".more").click();
  await page.locator("#pictures button").first().click();
  await page.waitForFunction(
    (n) => document.querySelectorAll("#pictures button").length === n - 1,
    Number(seen.taught.mug),
  );
  await audit(page, "class", seen, out);
  await page.click("#class-close");
  await audit(page, "page", seen, out);
  seen.removed = await counts(page);
  await page.click("#undo");
  await page.waitForFunction(
    (n) => [...document.querySelectorAll("#list .hold")].some((b) => b.textContent === `mug${n}`),
    seen.taught.mug,
  );

  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#export")]);
  await download.saveAs(path.join(out, "exported.gallery"));

  await page.reload();
  await page.waitForFunction(() => document.getElementById("best").textContent !== "");
  seen.reloaded = await counts(page);
  const other = await context.newPage();
  await other.goto(server.url);
  await other.waitForFunction(() => document.getElementById("status").textContent.includes("tab"));
  seen.secondTab = await other.textContent("#status");
  await other.close();

  await server.close();
  await page.reload();
  await page.waitForFunction(() => document.getElementById("best").textContent !== "");
  seen.offline = await counts(page);
  await scene(page, "red");
  seen.offlineAnswer = await best(page);

  await page.setInputFiles("#import", gallery);
  await page.waitForFunction(() => document.getElementById("notice").textContent.startsWith("Imported"));
  seen.imported = await counts(page);
  await page.setInputFiles("#import", film);
  await page.waitForFunction(() => document.getElementById("notice").textContent.includes("not a gallery"));
  seen.afterBadImport = await counts(page);
} finally {
  await page.screenshot({ path: path.join(out, "last.png") }).catch(() => {});
  await close();
  await server.close();
  process.stdout.write(JSON.stringify(seen));
}
process.exit(0);
