/**
 * The first of the page: whether a device is behind it, what the browser must have, the service worker that makes it work
 * offline, and only then the rest, so that the large files come once, packed, and are kept.
 */

import { text, write } from "./texts.js";

const status = /** @type {HTMLElement} */ (document.getElementById("status"));

const ROOT = new URL("../", import.meta.url);

/** What is asked of a browser, by what to call it. @type {[string, boolean][]} */
const NEEDED = [
  ["OffscreenCanvas", "OffscreenCanvas" in globalThis],
  ["<dialog>", "HTMLDialogElement" in globalThis],
];
/** What is asked of it beside that where it runs the model and keeps what is taught. @type {[string, boolean][]} */
const NEEDED_ALONE = [
  ["WebAssembly", "WebAssembly" in globalThis],
  ["navigator.storage.getDirectory", "getDirectory" in (navigator.storage ?? {})],
];

start();

async function start() {
  write();
  status.textContent = text("loading");
  const site = await readSite();
  const isServed = site.mode === "server";
  const lacking = [...NEEDED, ...(isServed ? [] : NEEDED_ALONE)].find(([, has]) => !has);
  // Storage is given to secure pages only: that is the reason then, not the browser's age.
  if (lacking !== undefined && (isServed || globalThis.isSecureContext)) {
    status.textContent = text("oldBrowser", { what: lacking[0] });
    return;
  }
  if (lacking !== undefined) {
    status.textContent = text("needsHttps");
    return;
  }
  try {
    if (isServed) await (await import("../client/start.js")).start(ROOT, /** @type {any} */ (site));
    else await alone();
  } catch (error) {
    status.textContent = error instanceof Error ? error.message : String(error);
  }
}

/** Read what lies beside the page: which runtime is behind it. A folder of files without it is a site. */
async function readSite() {
  try {
    const response = await fetch(new URL("site.json", ROOT), { cache: "no-cache" });
    return response.ok ? await response.json() : { mode: "browser" };
  } catch {
    return { mode: "browser" };
  }
}

/** Run the model in this browser. */
async function alone() {
  await underControl();
  await (await import("./in_browser.js")).start(new URL("bundle/", ROOT));
}

/** Wait until the service worker serves this page; where there can be none, the page works without. */
async function underControl() {
  if (!navigator.serviceWorker) return;
  try {
    const registration = await navigator.serviceWorker.register(new URL("../sw.js", import.meta.url));
    registration.addEventListener("updatefound", () => offer(registration));
    if (registration.waiting || registration.installing) offer(registration);
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

/**
 * Say so when a new version is there, whole; it takes over when the person wants it, or when the page is opened next.
 * @param {ServiceWorkerRegistration} registration
 */
function offer(registration) {
  const show = () => {
    if (registration.waiting === null || navigator.serviceWorker.controller === null) return;
    /** @type {HTMLElement} */ (document.getElementById("update")).hidden = false;
  };
  registration.installing?.addEventListener("statechange", show);
  show();
  /** @type {HTMLElement} */ (document.getElementById("reload")).onclick = () => {
    navigator.serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
    registration.waiting?.postMessage("take over");
  };
}
