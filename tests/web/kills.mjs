/**
 * Kills the whole browser while a page enrolls, again and again; prints what was acknowledged and what was there after.
 *
 *   node kills.mjs CHROMIUM SITE KILLS SEED
 */

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { chromium } from "../../build/node/node_modules/playwright-core/index.mjs";
import { serve } from "./server.mjs";

const [executablePath, site, kills, seed] = process.argv.slice(2);
const FINGERPRINT = "f".repeat(64);
const WIDTH = 64;
const LONGEST = 900; // milliseconds from the first change to the kill

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "tlc-kills-"));
const profile = path.join(folder, "profile");
fs.cpSync(site, path.join(folder, "site"), { recursive: true });
fs.writeFileSync(path.join(folder, "site", "blank.html"), "<!doctype html><title>blank</title>");
const server = await serve(path.join(folder, "site"));

let state = Number(seed);
/** A number from 0 to 1 that follows from the seed alone. */
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}

async function open() {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    args: ["--no-sandbox"],
  });
  const page = context.pages()[0];
  await page.goto(`${server.url}blank.html`);
  const found = await page.evaluate(
    async ([fingerprint, width]) => {
      const { GalleryClient } = await import("./runtime/gallery/client.js");
      globalThis.gallery = await GalleryClient.open(fingerprint, width);
      const examples = await globalThis.gallery.examples();
      return { names: examples.map(({ name }) => name), bad: await globalThis.gallery.check() };
    },
    [FINGERPRINT, WIDTH],
  );
  return { context, page, found };
}

/** The processes whose command line names the profile: all of this browser's, and no other's. */
function processes() {
  return fs
    .readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .filter((name) => {
      try {
        return fs.readFileSync(`/proc/${name}/cmdline`, "utf8").includes(profile);
      } catch {
        return false;
      }
    });
}

const acknowledged = new Set();
let lost = 0;
let damaged = 0;
try {
  for (let i = 0; i <= Number(kills); i++) {
    const { context, page, found } = await open();
    const there = new Set(found.names);
    for (const name of acknowledged) if (!there.has(name)) lost++;
    damaged += found.bad.length;
    if (i === Number(kills)) {
      await context.close();
      break;
    }
    await page.exposeFunction("acknowledge", (name) => acknowledged.add(name));
    await page.evaluate(
      ([turn, width]) => {
        const thumbnail = new Uint8Array(6000).fill(turn);
        const enroll = async (n) => {
          const name = `${turn}.${n}`;
          const digest = `${turn.toString(16).padStart(32, "0")}${n.toString(16).padStart(32, "0")}`;
          const vector = Float32Array.from({ length: width }, (_, j) => Math.sin(turn + n * 7 + j));
          await globalThis.gallery.add(`class ${turn}`, [vector], [{ sha256: digest, name, thumbnail }]);
          globalThis.acknowledge(name);
          enroll(n + 1);
        };
        enroll(0);
      },
      [i, WIDTH],
    );
    await new Promise((resolve) => setTimeout(resolve, random() * LONGEST));
    for (const id of processes()) {
      try {
        process.kill(Number(id), "SIGKILL");
      } catch {
        // It ended with its parent.
      }
    }
    await context.close().catch(() => {});
    while (processes().length) await new Promise((resolve) => setTimeout(resolve, 50));
    // Chromium leaves a lock that names a process which is no more.
    for (const name of ["SingletonLock", "SingletonSocket", "SingletonCookie"])
      fs.rmSync(path.join(profile, name), { force: true });
  }
} finally {
  await server.close();
  fs.rmSync(folder, { recursive: true, force: true });
}
process.stdout.write(JSON.stringify({ kills: Number(kills), acknowledged: acknowledged.size, lost, damaged }));
process.exit(0);
