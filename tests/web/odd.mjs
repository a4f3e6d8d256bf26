/** What the runtime in the browser makes of the picture files of a folder; prints their pixels or errors, as JSON. */

import fs from "node:fs";
import { chromium } from "../../build/node/node_modules/playwright-core/index.mjs";
import { serve } from "./server.mjs";

const [executablePath, folder, spec] = process.argv.slice(2);
const server = await serve(folder);
const browser = await chromium.launch({ executablePath, headless: true, args: ["--no-sandbox"] });
const page = await browser.newPage();
await page.goto(server.url);
const names = fs.readdirSync(`${folder}/pictures`);
const found = await page.evaluate(
  async ([all, how]) => {
    const { decode, prepare } = await import("./runtime/images/load.js");
    const said = {};
    for (const name of all) {
      const file = new File([await (await fetch(`pictures/${name}`)).blob()], name);
      try {
        said[name] = { pixels: [...(await prepare(await decode(file), how))] };
      } catch (e) {
        said[name] = { error: e.message };
      }
    }
    return said;
  },
  [names, JSON.parse(spec)],
);
await browser.close();
await server.close();
process.stdout.write(JSON.stringify(found));
