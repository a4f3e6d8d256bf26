/**
 * Uses the page of a server as a person would, in Chromium with a camera that shows a film, and kills the server; prints
 * what was seen, as JSON.
 *
 *   node serve_page.mjs CHROMIUM ASKED.json
 *
 * ASKED: `film` for the camera here; `command`, which serves; `url`, of the page on loopback, and `plain`, by
 * a name that is no loopback's to the browser; `tokens` `{all, look}`; `gallery`, a file that tlc made; `out`, a folder.
 */

import fs from "node:fs";
import path from "node:path";
import { audit } from "./audit.mjs";
import { kill, start } from "./served.mjs";
import { answers, best, browse, counts, hold, learned, photograph, scene, teach } from "./steps.mjs";

const [executable, file] = process.argv.slice(2);
const asked = JSON.parse(fs.readFileSync(file, "utf8"));
const { url, plain, tokens, out } = asked;
const seen = { foreign: [], errors: [], serious: [], wide: {} };

function listen(page) {
  page.on("request", (request) => {
    if (/^https?:/.test(request.url()) && ![url, plain].some((one) => request.url().startsWith(one)))
      seen.foreign.push(request.url());
  });
  page.on("pageerror", (error) => seen.errors.push(error.message));
}

const said = (page, id, pattern) =>
  page.waitForFunction(([i, p]) => new RegExp(p).test(document.getElementById(i).textContent), [id, pattern]);
const shown = (page, id) => page.waitForFunction((i) => !document.getElementById(i).hidden, id);
const answered = (page) => page.waitForFunction(() => document.getElementById("best").textContent !== "");

let server = await start(asked);
const { context, close } = await browse(executable, asked.film, [
  `--host-resolver-rules=MAP ${new URL(plain).hostname} 127.0.0.1`,
]);
const page = context.pages()[0];
listen(page);

/** The token: asked for, refused, and taken from a link out of the address. */
async function enter() {
  await page.goto(url);
  await page.waitForFunction(() => document.getElementById("enter-dialog").open);
  const [paint] = await page.evaluate(() =>
    performance.getEntriesByName("first-contentful-paint").map(({ startTime }) => startTime),
  );
  seen.firstPaint = paint;
  seen.loaded = await page.evaluate(() => {
    const all = performance.getEntries().filter(({ name }) => !name.includes("/api/"));
    return all.reduce((sum, { transferSize }) => sum + (transferSize ?? 0), 0);
  });
  await page.fill("#token", "wrong");
  await page.click("#enter button");
  await said(page, "enter-result", "wrong");
  await audit(page, "enter", seen, out);
  await page.goto("about:blank");
  await page.goto(`${url}#token=${tokens.all}`);
  await answered(page);
  seen.address = page.url();
  seen.scriptSees = await page.evaluate(() => document.cookie);
}

/** In the page: what the device gets of the picture that is shown, as base64. */
async function sent() {
  const { Pictures } = await import("./client/pictures.js");
  const { preprocessing } = await (await fetch("api/v1/bundles/one/manifest")).json();
  const picture = await new Pictures(preprocessing).make(document.getElementById("still"));
  const bytes = new Uint8Array(await picture.arrayBuffer());
  return btoa(String.fromCharCode(...bytes));
}

/** The camera here: teach, ask, take a picture away and bring it back. */
async function teachHere() {
  await page.click("#camera-on");
  await shown(page, "video");
  await teach(page, "mug", "red");
  await teach(page, "book", "blue");
  seen.taught = await counts(page);
  seen.answers = await answers(page);
  await page.click("#why");
  await shown(page, "reasons");
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: path.join(out, "phone.png") });
  await audit(page, "why", seen, out);
  for (const name of ["red", "blue"]) {
    await scene(page, name);
    await photograph(page, path.join(out, `${name}.png`));
    await page.setInputFiles("#open", path.join(out, `${name}.png`));
    await shown(page, "still");
    seen[`${name}.png`] = await best(page);
    fs.writeFileSync(path.join(out, `${name}-sent.png`), Buffer.from(await page.evaluate(sent), "base64"));
    await page.click("#camera-on");
    await shown(page, "video");
  }
  await page.locator("#list li", { hasText: "mug" }).locator(".more").click();
  await page.locator("#pictures button").first().click();
  await learned(page, "mug", Number(seen.taught.mug) - 1);
  await audit(page, "class", seen, out);
  await page.click("#class-close");
  await audit(page, "page", seen, out);
  await page.click("#undo");
  await learned(page, "mug", seen.taught.mug);
  await page.reload();
  await answered(page);
  seen.reloaded = await counts(page);
}

/** The page in another language, from right to left too, with classes on it and a picture to be sorted. */
async function speak() {
  seen.spoken = {};
  for (const language of ["de", "ar", "en"]) {
    await page.click("#about-button");
    await page.selectOption("#language", language);
    await page.click("#about-close");
    await page.waitForFunction((l) => document.documentElement.lang === l, language);
    await page.waitForTimeout(500);
    const [direction, ways, queue] = await page.evaluate(() => [
      document.documentElement.dir,
      document.getElementById("ways").textContent,
      document.getElementById("queue-hint").textContent,
    ]);
    seen.spoken[language] = { direction, ways, queue };
    await audit(page, language, seen, out);
  }
}

/** The device's own camera: it answers by itself, and is learned from by holding. */
async function teachThere() {
  await page.click("#camera-on");
  await shown(page, "video");
  await page.click("#device-on");
  await page.waitForFunction(() => document.getElementById("device").naturalWidth > 0);
  await teach(page, "lamp");
  await said(page, "best", "^lamp ");
  seen.there = await best(page);
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: path.join(out, "device.png") });
}

/** A second viewer sees what the first one taught; a tab that is closed in the middle of a hold leaves the rest whole. */
async function together() {
  const other = await context.newPage();
  listen(other);
  await other.goto(url);
  await answered(other);
  const before = await counts(other);
  const button = other.locator("#list .hold", { hasText: "lamp" });
  await button.evaluate((b) => b.scrollIntoView({ block: "start" }));
  const { x, y } = await button.boundingBox();
  await other.mouse.move(x + 20, y + 15);
  await other.mouse.down();
  await other.waitForTimeout(600);
  await other.close();
  seen.afterClosed = { before, after: await counts(page) };
  const third = await context.newPage();
  listen(third);
  await third.goto(url);
  await answered(third);
  await third.bringToFront();
  await page.evaluate(() => fetch("api/v1/bundles/one/forget", { method: "POST", body: '{"label": "lamp"}' }));
  await third.waitForFunction(
    () => ![...document.querySelectorAll("#list .hold")].some((b) => b.textContent.startsWith("lamp")),
  );
  await third.close();
  await page.bringToFront();
  await page.click("#undo");
  await learned(page, "lamp");
}

/** The server is killed and comes back; what was held meanwhile is learned then. */
async function loseAndFind() {
  const before = await counts(page);
  await kill(server);
  await shown(page, "connection");
  seen.lost = await page.textContent("#connection");
  await page.screenshot({ path: path.join(out, "lost.png") });
  server = await start(asked);
  await page.waitForFunction(() => document.getElementById("connection").hidden);
  seen.found = await page.textContent("#notice");
  seen.afterKill = { before, after: await counts(page) };
  await page.waitForFunction(() => document.getElementById("device").naturalWidth > 0);
  await teach(page, "lamp");
  await page.click("#camera-on");
  await shown(page, "video");
  await kill(server);
  await shown(page, "connection");
  await hold(page, "mug");
  const held = (await counts(page)).mug;
  server = await start(asked);
  await said(page, "notice", "^mug: \\d+ pictures learned");
  await page.waitForFunction(
    (n) => ![...document.querySelectorAll("#list .hold")].some((b) => b.textContent === `mug${n}`),
    held,
  );
  seen.heldMeanwhile = { before: held, after: (await counts(page)).mug };
  await page.click("#device-on");
}

/** What the device was unsure of is sorted by a tap. */
async function sort() {
  const before = await counts(page);
  await page.waitForFunction(() => document.querySelector("#queued .answers button") !== null);
  await audit(page, "queue", seen, out);
  await page.locator("#queue").scrollIntoViewIfNeeded();
  const first = await page.$("#queued .queued");
  await page.locator("#queued .answers > button", { hasText: "mug" }).first().click();
  await learned(page, "mug", Number(before.mug) + 1);
  await page.waitForFunction((card) => !card.isConnected && !document.getElementById("queued").inert, first);
  await page.fill("#queued .answers input", "sorted");
  await page.click("#queued .answers form button");
  await learned(page, "sorted", 1);
  seen.sorted = await counts(page);
}

/** The gallery leaves as a file, and another one comes in. */
async function exchange() {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#export")]);
  await download.saveAs(path.join(out, "exported.gallery"));
  seen.exported = await counts(page);
  await page.setInputFiles("#import", asked.gallery);
  await said(page, "notice", "^Imported");
  await learned(page, "brought", 3);
  seen.imported = await counts(page);
  await page.setInputFiles("#import", asked.film);
  await said(page, "notice", "gallery");
  seen.afterBadImport = await counts(page);
}

/** Another bundle of the same server has a gallery of its own. */
async function choose() {
  await page.selectOption("#bundles", "two");
  await page.waitForURL(/bundle=two/);
  await answered(page);
  seen.two = await counts(page);
}

/** By a name, over plain http, with a token to look: no camera here, and nothing can be taught. */
async function look() {
  const looking = await context.newPage();
  listen(looking);
  await looking.goto(`${plain}#token=${tokens.look}`);
  await answered(looking);
  seen.ways = await looking.textContent("#ways");
  seen.hint = await looking.textContent("#hint");
  seen.mayHold = await looking.$$eval("#list .hold", (all) => all.some((button) => !button.disabled));
  seen.mayName = await looking.isVisible("#new-class");
  await looking.setInputFiles("#take", path.join(out, "red.png"));
  await shown(looking, "still");
  seen.lookedAt = await best(looking);
  await audit(looking, "look", seen, out);
  await looking.close();
}

/** By that name with a token to teach: a picture is taken, and learned from by holding. */
async function teachPlain() {
  await page.goto(`${plain}#token=${tokens.all}`);
  await answered(page);
  await page.setInputFiles("#take", path.join(out, "blue.png"));
  await shown(page, "still");
  await teach(page, "photographed");
  await teach(page, "None of these");
  const { photographed, "None of these": unwanted } = await counts(page);
  Object.assign(seen, { photographed, unwanted });
}

const steps = { enter, teachHere, speak, teachThere, together, loseAndFind, sort, exchange, choose, look, teachPlain };
try {
  for (const [name, step] of Object.entries(steps)) {
    seen.step = name;
    await step();
  }
  await page.setViewportSize({ width: 1200, height: 800 });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.screenshot({ path: path.join(out, "desk.png") });
  seen.step = "";
} finally {
  await page.screenshot({ path: path.join(out, "last.png") }).catch(() => {});
  await close();
  await kill(server, "SIGTERM");
  process.stdout.write(JSON.stringify(seen));
}
process.exit(0);
