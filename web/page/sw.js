/**
 * The service worker: keeps the site's files, so that the page works offline, and serves them under a strict policy,
 * which a `<meta>` alone would not carry to workers.
 *
 * The build writes FILES and VERSION: each file with the SHA-256 of its bytes and its type, whether it lies there packed
 * too, and whether only some browsers need it: such a one is kept when it is first asked for.
 */

/** @typedef {{hash: string, type: string, packed: boolean, late: boolean}} Listed */

/** @type {Record<string, Listed>} */
const FILES = {};
const VERSION = "";

const CACHE = `tlc-${VERSION}`;
const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; " +
  "img-src 'self' blob: data:; media-src 'self' blob: mediastream:; style-src 'self'; manifest-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));

worker.addEventListener("install", (event) => event.waitUntil(keepAll()));
worker.addEventListener("activate", (event) => event.waitUntil(takeOver()));
worker.addEventListener("message", ({ data }) => {
  if (data === "take over") worker.skipWaiting();
  if (data === "claim") worker.clients.claim();
});
worker.addEventListener("fetch", (event) => {
  const name = nameOf(event.request.url);
  if (event.request.method === "GET" && name !== undefined) event.respondWith(serve(name));
});

/**
 * Fetch what every browser needs, and what the version before kept of the rest; what did not change is taken from there.
 * All of it or nothing: where a file is missing or another, as on a host that has half of a version, the one before stays.
 */
async function keepAll() {
  const cache = await caches.open(CACHE);
  try {
    await Promise.all(
      Object.keys(FILES).map(async (name) => {
        if (FILES[name].late && (await caches.match(keyOf(name))) === undefined) return;
        await cache.put(keyOf(name), (await kept(name)) ?? (await fetched(name)));
      }),
    );
  } catch (error) {
    await caches.delete(CACHE);
    throw error;
  }
}

/** Serve every open page, and drop the files of versions before. */
async function takeOver() {
  for (const name of await caches.keys()) {
    if (name.startsWith("tlc-") && name !== CACHE && (await isOurs(name))) await caches.delete(name);
  }
  await worker.clients.claim();
}

/**
 * @param {string} name
 * @returns {Promise<Response>}
 */
async function serve(name) {
  const cache = await caches.open(CACHE);
  const found = await cache.match(keyOf(name));
  if (found !== undefined) return found;
  const response = (await kept(name)) ?? (await fetched(name));
  await cache.put(keyOf(name), response.clone());
  return response;
}

/**
 * Return a file that an earlier version kept, if its bytes are the same.
 * @param {string} name
 * @returns {Promise<Response | undefined>}
 */
async function kept(name) {
  const found = await caches.match(keyOf(name));
  return found?.headers.get("x-sha256") === FILES[name].hash ? found : undefined;
}

/**
 * Fetch a file, packed where that is there, and check that its bytes are those that were built.
 * @param {string} name
 * @returns {Promise<Response>}
 */
async function fetched(name) {
  const { hash, type, packed } = FILES[name];
  const url = keyOf(name);
  const response = await fetch(packed ? `${url}.gz` : url, { cache: "no-cache" });
  if (!response.ok || response.body === null) throw new Error(`${name}: HTTP ${response.status}`);
  const body = packed ? response.body.pipeThrough(new DecompressionStream("gzip")) : response.body;
  const bytes = await new Response(body).arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== hash) throw new Error(`${name} is not as it was built`);
  return new Response(bytes, {
    headers: {
      "content-type": type,
      "content-security-policy": POLICY,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "x-sha256": hash,
    },
  });
}

/**
 * Return the site's name of an address, undefined for what is not the site's.
 * @param {string} address
 * @returns {string | undefined}
 */
function nameOf(address) {
  const url = new URL(address);
  url.search = url.hash = "";
  if (!url.href.startsWith(worker.registration.scope)) return undefined;
  const name = url.href.slice(worker.registration.scope.length) || "index.html";
  return Object.hasOwn(FILES, name) ? name : undefined;
}

/**
 * @param {string} name
 * @returns {string}
 */
function keyOf(name) {
  return new URL(name, worker.registration.scope).href;
}

/**
 * Several sites may share an origin: a cache is ours if it holds our index.
 * @param {string} cache
 * @returns {Promise<boolean>}
 */
async function isOurs(cache) {
  return (await (await caches.open(cache)).match(keyOf("index.html"))) !== undefined;
}
