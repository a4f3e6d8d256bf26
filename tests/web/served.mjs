/** A server of `tlc serve` for a test in a browser: started, killed, started again. */

import { spawn } from "node:child_process";
import { once } from "node:events";

/** Start it, and wait until it answers. */
export async function start({ command, url }) {
  const [program, ...rest] = command;
  const server = spawn(program, rest, { stdio: ["ignore", "ignore", "inherit"] });
  for (;;) {
    if (server.exitCode !== null) throw new Error(`the server ended with ${server.exitCode}`);
    const answer = await fetch(`${url}healthz`).catch(() => undefined);
    if (answer?.ok) return server;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** End it, at once or as it is asked to. */
export async function kill(server, signal = "SIGKILL") {
  server.kill(signal);
  if (server.exitCode === null && server.signalCode === null) await once(server, "exit");
}
