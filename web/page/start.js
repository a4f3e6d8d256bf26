/**
 * The first of the page: what the browser must have, the service worker that makes it work offline, and only then the
 * rest, so that the large files come once, packed, and are kept.
 */

import { text, write } from "./texts.js";

const status = /** @type {HTMLElement} */ (document.getElementById("status"));

/** What is asked of a browser, by what to call it. @type {[string, boolean][]} */
const NEEDED = [
  ["WebAssembly", "WebAssembly" in globalThis],
  ["OffscreenCanvas", "OffscreenCanvas" in globalThis],
  ["navigator.storage.getDirectory", "getDirectory" in (navigator.storage ?? {})],
  ["<dialog>", "HTMLDialogElement" in globalThis],
];

start();

async function start() {
  write();
  const lacking = NEEDED.find(([, has]) => !has);
  // Storage is given to secure pages only: that is the reason then, not the browser's age.
  if (lacking !== undefined && globalThis.isSecureContext) {
    status.textContent = text("oldBrowser", { what: lacking[0] });
    return;
  }
  if (lacking !== undefined) {
    status.textContent = text("notSecure");
    return;
  }
  status.textContent = text("loading");
  await underControl();
  const page = await import("./in_browser.js");
  try {
    await page.start(new URL("../bundle/", import.meta.url));
  } catch (error) {
    status.textContent = error instanceof Error ? error.message : String(error);
  }
}

/** Wait until the service worker serves this page; where there can be none, the page works without. */
async function underControl() {
  if (!navigator.serviceWorker) return;
  try {
    const registration = await navigator.serviceWorker.register(new URL("../sw.js", import.meta.url));
    registration.addEventListener("updatefound", () => offer(registration));
    if (registration.waiting) offer(registration);
    if (navigator.serviceWorker.controller) return;
    await new Promise((resolve, reject) => {
      navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true });
      const installing = registration.installing ?? registration.waiting ?? registration.active;
      installing?.addEventListener(
        "statechange",
        () => installing.state === "redundant" && reject(new Error("not installed")),
      );
      // A page that was reloaded past the worker is not taken under control by itself.
      registration.active?.postMessage("claim");
    });
  } catch {
    // Private windows and old hosts: everything comes over the network then, each time.
  }
}

/** @param {ServiceWorkerRegistration} registration */
function offer(registration) {
  const next = registration.installing ?? registration.waiting;
  const show = () => {
    if (registration.waiting === null || navigator.serviceWorker.controller === null) return;
    /** @type {HTMLElement} */ (document.getElementById("update")).hidden = false;
    document.getElementById("reload")?.addEventListener("click", () => {
      navigator.serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
      registration.waiting?.postMessage("take over");
    });
  };
  next?.addEventListener("statechange", show);
  show();
}
