/** Firefox without a driver beside it: its own remote protocol, Marionette, over TCP on loopback. */

import { spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";

const ELEMENT = "element-6066-11e4-a52e-4f735466cecf"; // how WebDriver marks an element
const PATIENCE = 120_000; // milliseconds
/** Nothing of its own goes over the network, and the port is one that is free. */
const PREFERENCES = {
  "app.normandy.enabled": false,
  "app.update.disabledForTesting": true,
  "browser.safebrowsing.malware.enabled": false,
  "browser.safebrowsing.phishing.enabled": false,
  "browser.shell.checkDefaultBrowser": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "extensions.update.enabled": false,
  "intl.accept_languages": "en",
  "marionette.port": 0,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "services.settings.server": "data:,",
  "toolkit.telemetry.enabled": false,
};

/** Start Firefox with a profile of its own. */
export async function startFirefox(executable) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "tlc-firefox-"));
  const lines = Object.entries(PREFERENCES).map(([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});`);
  fs.writeFileSync(path.join(profile, "user.js"), lines.join("\n"));
  const args = ["--headless", "--no-remote", "--marionette", "--profile", profile];
  // Firefox starts more processes: as a group they end together.
  const child = spawn(executable, args, { detached: true, stdio: "ignore", env: { ...process.env, HOME: profile } });
  const end = () => {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // It has ended.
    }
    fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const session = new Session(net.connect(await portOf(profile), "127.0.0.1"));
    await session.ask("WebDriver:NewSession", {});
    await session.ask("WebDriver:SetTimeouts", { script: PATIENCE, pageLoad: PATIENCE });
    return Object.assign(session, { end });
  } catch (error) {
    end();
    throw error;
  }
}

async function portOf(profile) {
  const file = path.join(profile, "MarionetteActivePort");
  for (const start = Date.now(); Date.now() - start < PATIENCE; ) {
    const port = Number(fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "");
    if (port) return port;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("Firefox did not open its port");
}

/** A connection: messages are `LENGTH:JSON`, `[0, id, command, parameters]` there and `[1, id, error, value]` back. */
class Session {
  constructor(socket) {
    this.socket = socket;
    this.waiting = new Map();
    this.latest = 0;
    let read = Buffer.alloc(0);
    socket.on("data", (bytes) => {
      read = Buffer.concat([read, bytes]);
      for (let colon = read.indexOf(":"); colon > 0; colon = read.indexOf(":")) {
        const end = colon + 1 + Number(read.subarray(0, colon));
        if (read.length < end) return;
        this.#settle(JSON.parse(read.subarray(colon + 1, end)));
        read = read.subarray(end);
      }
    });
    socket.on("close", () => {
      for (const { reject } of this.waiting.values()) reject(new Error("Firefox has ended"));
    });
  }

  ask(command, parameters) {
    const id = ++this.latest;
    const text = JSON.stringify([0, id, command, parameters]);
    this.socket.write(`${Buffer.byteLength(text)}:${text}`);
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }

  goto(url) {
    return this.ask("WebDriver:Navigate", { url });
  }

  /** Run a function in the page and return what it returns, or what its promise becomes. */
  async evaluate(body, ...args) {
    const script = `const done = arguments[arguments.length - 1];
      Promise.resolve().then(() => (${body})(...Array.from(arguments).slice(0, -1)))
        .then((value) => done({ value }), (error) => done({ error: String(error) }));`;
    const { value } = await this.ask("WebDriver:ExecuteAsyncScript", { script, args, sandbox: null });
    if (value.error) throw new Error(value.error);
    return value.value;
  }

  /** Wait until a function is true of the page. */
  async waitFor(body, ...args) {
    for (const start = Date.now(); Date.now() - start < PATIENCE; ) {
      if (await this.evaluate(body, ...args)) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`still not so: ${body}`);
  }

  /** Choose files, as a person does. */
  async choose(selector, files) {
    const { value } = await this.ask("WebDriver:FindElement", { using: "css selector", value: selector });
    await this.ask("WebDriver:ElementSendKeys", { id: value[ELEMENT], text: files.join("\n") });
  }

  #settle(message) {
    if (!Array.isArray(message)) return; // who it is, before anything is asked
    const [, id, error, value] = message;
    const asked = this.waiting.get(id);
    this.waiting.delete(id);
    if (error) asked?.reject(new Error(`${error.error}: ${error.message}`));
    else asked?.resolve(value);
  }
}
