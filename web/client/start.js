/**
 * The page with a device behind it: a token where one is needed, the choice of a bundle, and a connection that may be
 * lost and found.
 */

import { run } from "../page/app.js";
import { element, make } from "../page/dom.js";
import { text } from "../page/texts.js";
import { Api, RefusedError } from "./api.js";
import { DeviceCamera } from "./device_camera.js";
import { Events } from "./events.js";
import { QueueView } from "./queue_view.js";
import { ServedClassifier } from "./served_classifier.js";

/**
 * What a device says of itself.
 * @typedef {{api: string, needs_token: boolean, may_read: boolean, may_change: boolean, bundles: string[],
 *   camera: boolean, queue: boolean, authority: boolean}} Site
 */

const PACE = 100; // milliseconds between a frame's answer and the next frame: the device has other viewers too
const KINDS = ["hello", "answer", "camera", "change", "queue"];

/**
 * Let the page live.
 * @param {URL} root of the page
 * @param {Site} site
 */
export async function start(root, site) {
  const said = { unreachable: text("unreachable") };
  const whole = new Api(new URL(site.api, root), said);
  const known = (await enterByLink(whole)) ? await siteOf(root) : site;
  const entered = known.may_read ? known : await enterByHand(whole, root);
  const name = choose(entered.bundles);
  const api = new Api(new URL(`bundles/${encodeURIComponent(name)}/`, whole.base), said);
  await new Visit(api, root, entered).begin();
}

/**
 * Read what the device says of itself and of what this visitor may.
 * @param {URL} root
 * @returns {Promise<Site>}
 */
async function siteOf(root) {
  return (await fetch(new URL("site.json", root), { cache: "no-store" })).json();
}

/**
 * Change the token in the address for a cookie, which no script reads, and take it out of the address.
 * @param {Api} api
 * @returns {Promise<boolean>} whether there was one
 */
async function enterByLink(api) {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return false;
  history.replaceState(null, "", `${location.pathname}${location.search}`);
  try {
    await api.post("session", { token });
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    element("enter-result").textContent = error.message;
  }
  return true;
}

/**
 * Ask the person for the token until the device takes it.
 * @param {Api} api
 * @param {URL} root
 * @returns {Promise<Site>}
 */
function enterByHand(api, root) {
  const dialog = /** @type {HTMLDialogElement} */ (element("enter-dialog"));
  const input = /** @type {HTMLInputElement} */ (element("token"));
  element("status").textContent = text("tokenNeeded");
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.showModal();
  return new Promise((resolve) => {
    element("enter").addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        await api.post("session", { token: input.value.trim() });
        const site = await siteOf(root);
        input.value = "";
        dialog.close();
        element("status").textContent = text("loading");
        resolve(site);
      } catch (error) {
        element("enter-result").textContent = /** @type {Error} */ (error).message;
      }
    });
  });
}

/**
 * Return the bundle that the address names, or the first; where there are several, let the person choose.
 * @param {string[]} names
 * @returns {string}
 */
function choose(names) {
  const wanted = new URLSearchParams(location.search).get("bundle");
  const chosen = names.find((name) => name === wanted) ?? names[0];
  const list = /** @type {HTMLSelectElement} */ (element("bundles"));
  list.replaceChildren(
    ...names.map((name) => make("option", { value: name, textContent: name, selected: name === chosen })),
  );
  list.hidden = names.length < 2;
  list.addEventListener("change", () => {
    location.search = new URLSearchParams({ bundle: list.value }).toString();
  });
  return chosen;
}

/** One page on one bundle, from its start to its end. */
class Visit {
  /**
   * @param {Api} api of the bundle
   * @param {URL} root
   * @param {Site} site
   */
  constructor(api, root, site) {
    this.api = api;
    this.root = root;
    this.site = site;
    /** The run of the server that this page began with. */
    this.server = "";
    /** Whether the device's camera gives no picture. */
    this.isGone = false;
  }

  async begin() {
    const classifier = await ServedClassifier.open(this.api);
    const image = /** @type {HTMLImageElement} */ (element("device"));
    if (this.site.camera) this.device = new DeviceCamera(this.api, image);
    if (this.site.queue) this.queue = new QueueView(this.api, classifier, this.site.may_change);
    const kept = () => this.#tell();
    const surroundings = { kept, mayTeach: this.site.may_change, pace: PACE, device: this.device };
    this.page = await run(classifier, surroundings);
    this.#follow();
  }

  /**
   * Say which way pictures may come, and why; and where what is taught is kept.
   * @returns {Promise<string>} the latter
   */
  async #tell() {
    const name = location.hostname;
    const plain = this.device === undefined ? "waysPlain" : "waysPlainDevice";
    const ways = element("ways");
    ways.replaceChildren(text(globalThis.isSecureContext ? "waysSecure" : plain, { name }));
    if (this.site.authority) {
      const link = make("a", { href: new URL("ca.crt", this.root).href, textContent: text("authority") });
      ways.append(" ", link);
    }
    ways.hidden = false;
    const said = [text("keptThere", { name })];
    if (this.queue !== undefined) {
      said.push(text("queueThere", { count: await this.queue.most() }));
      await this.queue.rewrite();
    }
    return said.join(" ");
  }

  /** Show what happens on the device, by its own camera or by others who teach it. */
  #follow() {
    const events = new Events(this.api.url("events"), KINDS);
    this.api.onReached = (reached) => reached || events.doubt();
    this.api.untilFound = () => events.untilFound();
    const on = (/** @type {string} */ kind, /** @type {(detail: any) => unknown} */ act) =>
      events.addEventListener(kind, (event) => act(/** @type {CustomEvent} */ (event).detail));
    on("hello", ({ server }) => this.#met(server));
    on("answer", ({ prediction }) => this.#see(prediction));
    on("camera", (camera) => this.#tellCamera(camera));
    on("change", () => this.#refresh());
    on("queue", () => this.queue?.refresh());
    on("lost", () => this.#lost());
    on("found", () => this.#found());
  }

  /**
   * The device greets, at the start and after each break: what it did meanwhile is not told again.
   * @param {string} server which run of it
   */
  #met(server) {
    if (this.server) this.#refresh();
    this.server = server;
  }

  /** @param {import("../page/shape.js").Answer} answer to what the device's camera sees */
  #see(answer) {
    if (this.isGone) {
      this.isGone = false;
      this.device?.again();
      if (this.device?.isOn) element("status").textContent = "";
    }
    this.page?.showSeen(answer);
  }

  /** @param {{is_there: boolean, text: string}} camera it is gone or back, or what it sees has no answer */
  #tellCamera(camera) {
    const wasGone = this.isGone;
    this.isGone = !camera.is_there;
    if (!this.device?.isOn) return;
    if (wasGone && camera.is_there) element("status").textContent = "";
    if (camera.is_there) this.page?.complain(camera.text);
    else element("status").textContent = `${text("noDeviceCamera")} ${camera.text}`.trim();
  }

  async #refresh() {
    try {
      await Promise.all([this.page?.refresh(), this.queue?.refresh()]);
    } catch (error) {
      this.page?.complain(error);
    }
  }

  async #lost() {
    this.#say(text("lost", { name: location.hostname }));
    // It may be there, and not let us in any more.
    const site = await siteOf(this.root).catch(() => undefined);
    if (site !== undefined && !site.may_read) location.reload();
  }

  #found() {
    this.#say("");
    element("notice").textContent = text("found", { name: location.hostname });
    element("notice").classList.remove("warn");
    this.device?.again();
  }

  /** @param {string} said */
  #say(said) {
    element("connection").textContent = said;
    element("connection").hidden = said === "";
  }
}
