/**
 * Opens the page of a server in Firefox, teaches it by files, and kills the server; prints what was seen, as JSON.
 *
 *   node serve_firefox.mjs FIREFOX ASKED.json PICTURE…
 *
 * ASKED is as for serve_page.mjs; the pictures are of one thing.
 */

import fs from "node:fs";
import { startFirefox } from "./marionette.mjs";
import { kill, start } from "./served.mjs";

const [executable, file, ...pictures] = process.argv.slice(2);
const asked = JSON.parse(fs.readFileSync(file, "utf8"));
const seen = {};

let server = await start(asked);
const firefox = await startFirefox(executable);
const shown = (id) => firefox.evaluate((name) => document.getElementById(name).textContent, id);

try {
  await firefox.goto(`${asked.url}#token=${asked.tokens.all}`);
  await firefox.waitFor(() => document.getElementById("device").naturalWidth > 0);
  await firefox.waitFor(() => document.getElementById("best").textContent !== "");
  seen.there = await shown("best");
  await firefox.evaluate(() => {
    document.getElementById("new-name").value = "vase";
    document.querySelector("#new-class button").click();
  });
  await firefox.waitFor(() => {
    const row = document.querySelector("#list li[data-label=vase]");
    row?.querySelector(".more").click();
    return row !== null;
  });
  await firefox.waitFor(() => document.getElementById("class-dialog").open);
  await firefox.choose("#add-files", pictures);
  await firefox.waitFor((n) => document.querySelectorAll("#pictures button").length === n, pictures.length);
  await firefox.evaluate(() => document.getElementById("class-close").click());
  await firefox.choose("#open", pictures.slice(0, 1));
  await firefox.waitFor(() => !document.getElementById("still").hidden);
  seen.still = await shown("best");

  await kill(server);
  await firefox.waitFor(() => !document.getElementById("connection").hidden);
  server = await start(asked);
  await firefox.waitFor(() => document.getElementById("connection").hidden);
  seen.found = await shown("notice");
  seen.taught = await firefox.evaluate(() => document.querySelector("#list li[data-label=vase] .hold").textContent);
} finally {
  firefox.end();
  await kill(server, "SIGTERM");
  process.stdout.write(JSON.stringify(seen));
}
process.exit(0);
