/** What was unknown or unsure lately, one after the other, to be sorted by a tap. */

import { element, make, pictureOf } from "../page/dom.js";
import { text } from "../page/texts.js";
import { GalleryError } from "../runtime/errors.js";
import { NONE_OF_THESE } from "../runtime/gallery/labels.js";

/** Shows the latest that waits, and all that it could be. */
export class QueueView {
  /**
   * @param {import("./api.js").Api} api of the bundle
   * @param {{classes(): Promise<Map<string, number>>}} classifier
   * @param {boolean} maySort
   */
  constructor(api, classifier, maySort) {
    this.api = api;
    this.classifier = classifier;
    this.maySort = maySort;
    /** The picture that is shown. @type {string | undefined} */
    this.shown = undefined;
    /** @type {Promise<void>} */
    this.before = Promise.resolve();
    element("queue").hidden = false;
  }

  /** @returns {Promise<number>} how many pictures the device keeps at most */
  async most() {
    return (await this.api.get("queue")).most;
  }

  /** Show it anew, in the language of the page. */
  rewrite() {
    return this.refresh(true);
  }

  /**
   * Show what waits now; a picture that is being looked at stays, unless all is to be shown anew.
   * @returns {Promise<void>}
   */
  refresh(isAnew = false) {
    // One after the other: of two that ask at once the later one has it right.
    this.before = this.before.catch(() => {}).then(() => this.#show(isAnew));
    return this.before;
  }

  /** @param {boolean} isAnew */
  async #show(isAnew) {
    if (isAnew) this.shown = undefined;
    /** @type {{pictures: {id: string}[]}} */
    const { pictures } = await this.api.get("queue");
    element("queue-hint").textContent = text(pictures.length ? "queueHint" : "queueEmpty", { count: pictures.length });
    if (pictures.some(({ id }) => id === this.shown)) return;
    this.shown = pictures.at(-1)?.id;
    element("queued").replaceChildren(...(this.shown === undefined ? [] : [await this.#cardOf(this.shown)]));
  }

  /** @param {string} id */
  async #cardOf(id) {
    const [jpeg, { label: nearest, ranked }] = await Promise.all([this.api.blob(`queue/${id}`), this.#guess(id)]);
    const picture = pictureOf(jpeg, text("queuePicture", { label: nearest }));
    if (!this.maySort) return make("div", { className: "queued" }, picture);
    // What it is nearest to comes first.
    const known = [...(await this.classifier.classes()).keys()];
    const order = new Set([...ranked.map(({ label }) => label), ...known]);
    order.delete(NONE_OF_THESE);
    const answers = make(
      "div",
      { className: "answers" },
      ...[...order].map((label) => this.#button(label, id, { label }, label)),
      this.#newClass(id),
      this.#button(text("none"), id, { not: true }, text("none")),
      this.#button(text("discard"), id, { discard: true }, ""),
    );
    return make("div", { className: "queued" }, picture, answers);
  }

  /**
   * What it is taken for now; a bundle that has no class yet takes it for nothing.
   * @param {string} id
   * @returns {Promise<{label: string, ranked: {label: string}[]}>}
   */
  async #guess(id) {
    try {
      return await this.api.get(`queue/${id}/prediction`);
    } catch (error) {
      if (error instanceof GalleryError) return { label: "", ranked: [] };
      throw error;
    }
  }

  /**
   * @param {string} said
   * @param {string} id
   * @param {object} answer
   * @param {string} learned
   */
  #button(said, id, answer, learned) {
    const button = make("button", { type: "button", textContent: said });
    button.addEventListener("click", () => this.#sort(id, answer, learned));
    return button;
  }

  /** @param {string} id */
  #newClass(id) {
    const input = make("input", { maxLength: 200, autocomplete: "off", required: true, placeholder: text("newClass") });
    input.setAttribute("aria-label", text("newClass"));
    const form = make("form", {}, input, make("button", { type: "submit", textContent: text("add") }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const label = input.value.trim();
      if (label) this.#sort(id, { label }, label);
    });
    return form;
  }

  /**
   * @param {string} id
   * @param {object} answer
   * @param {string} learned what is learned from it, "" for nothing
   */
  async #sort(id, answer, learned) {
    const notice = element("notice");
    // A second tap would be for a picture that is not there any more.
    element("queued").inert = true;
    try {
      await this.api.post(`queue/${id}`, answer);
      notice.textContent = learned ? text("sorted", { label: learned }) : text("removed");
      notice.classList.remove("warn");
      await this.rewrite();
      element("queued").inert = false;
      /** @type {HTMLElement | null} */ (document.querySelector("#queued button"))?.focus();
    } catch (error) {
      notice.textContent = /** @type {Error} */ (error).message;
      notice.classList.add("warn");
    } finally {
      element("queued").inert = false;
    }
  }
}
