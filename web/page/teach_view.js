/** Teaching: a button for each class, held while pictures are taken; and what was taught, to be looked through. */

import { NONE_OF_THESE } from "../runtime/gallery/labels.js";
import { element, make, pictureOf } from "./dom.js";
import { onHold } from "./hold.js";
import { text } from "./texts.js";

/** @typedef {import("./shape.js").PageClassifier} PageClassifier */
/** @typedef {import("./shape.js").Taken} Taken */

const EVERY = 180; // milliseconds between two pictures: neighbours in a video teach little
const MOST = 60; // pictures in one hold
const STRIP = 8; // of the latest are shown

/** The classes and their buttons. */
export class TeachView {
  /**
   * @param {PageClassifier} classifier
   * @param {() => import("./shape.js").Shown | undefined} frame what is to be learned from now
   * @param {(error: unknown) => void} complain
   * @param {boolean} mayTeach
   */
  constructor(classifier, frame, complain, mayTeach) {
    this.classifier = classifier;
    this.frame = frame;
    this.complain = complain;
    this.mayTeach = mayTeach;
    if (!mayTeach) {
      document.body.classList.add("looking");
      element("hint").dataset.text = "readOnly";
      element("hint").textContent = text("readOnly");
    }
    /** Names that were given and have no picture yet. @type {Set<string>} */
    this.named = new Set();
    /** @type {Taken[]} */
    this.taken = [];
    this.held = 0;
    element("new-class").addEventListener("submit", (event) => this.#addClass(event));
    element("undo").addEventListener("click", () => this.#do(() => this.classifier.undo(), text("undone")));
    this.#listenToDialog();
  }

  /** Bring the list up to date with the classes. */
  async refresh() {
    const classes = await this.classifier.classes();
    for (const label of classes.keys()) this.named.delete(label);
    const unwanted = classes.get(NONE_OF_THESE) ?? 0;
    classes.delete(NONE_OF_THESE);
    // What was taught here comes first: it is what the person came for.
    const rows = [...[...this.named].map((label) => /** @type {const} */ ([label, 0])), ...classes];
    rows.sort((a, b) => Number(b[1] > 0 || this.named.has(b[0])) - Number(a[1] > 0 || this.named.has(a[0])));
    rows.push([NONE_OF_THESE, unwanted]);
    element("list").replaceChildren(...rows.map(([label, count]) => this.#rowOf(label, count)));
    const taught = [...classes.values()].reduce((a, b) => a + b, unwanted);
    /** @type {HTMLButtonElement} */ (element("undo")).disabled = !taught && !this.canUndo;
  }

  /**
   * Learn from files.
   * @param {string} label
   * @param {Iterable<File>} files
   */
  async learn(label, files) {
    await this.#enroll(label, [...files]);
  }

  /**
   * @param {string} label
   * @param {number} count
   */
  #rowOf(label, count) {
    const number = make("span", { textContent: String(count) });
    const hold = make(
      "button",
      { type: "button", className: "hold" },
      make("span", { textContent: nameOf(label) }),
      number,
    );
    hold.disabled = !this.mayTeach;
    onHold(
      hold,
      () => this.#begin(label),
      () => this.#end(label),
    );
    const more = make("button", { type: "button", textContent: "⋯", className: "more" });
    more.setAttribute("aria-label", `${text("name")}: ${nameOf(label)}`);
    more.addEventListener("click", () => this.#open(label));
    const row = make("li", {}, hold, more);
    row.dataset.label = label;
    return row;
  }

  /** @param {Event} event */
  #addClass(event) {
    event.preventDefault();
    const input = /** @type {HTMLInputElement} */ (element("new-name"));
    const label = input.value.trim();
    if (!label) return this.#say(text("notNamed"), true);
    this.named.add(label);
    input.value = "";
    this.refresh().then(() => {
      const buttons = [...document.querySelectorAll("#list .hold")];
      const mine = buttons.find((button) => button.firstChild?.textContent === label);
      /** @type {HTMLElement | undefined} */ (mine)?.focus();
    });
  }

  /** @param {string} label */
  async #begin(label) {
    const turn = ++this.held;
    this.taken = [];
    element("taken").replaceChildren();
    while (this.held === turn && this.taken.length < MOST) {
      const next = performance.now() + EVERY;
      const source = this.frame();
      if (source === undefined) break;
      try {
        const taken = await this.classifier.prepare(source);
        this.taken.push(taken);
        this.#showTaken(taken, label);
      } catch (error) {
        this.complain(error);
        break;
      }
      if (source instanceof File) break; // it stays the same, however long the button is held
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - performance.now())));
    }
  }

  /** @param {string} label */
  async #end(label) {
    this.held++;
    // The picture that is being taken belongs to it: a short tap is one.
    while (!this.taken.length && this.frame() !== undefined) await new Promise((resolve) => setTimeout(resolve, 20));
    if (this.taken.length) await this.#enroll(label, this.taken);
  }

  /**
   * @param {Taken} taken
   * @param {string} label
   */
  async #showTaken(taken, label) {
    this.#say(`${nameOf(label)}: ${text("holding", { count: this.taken.length })}`);
    const strip = element("taken");
    strip.prepend(pictureOf(await this.classifier.pictureOf(taken), ""));
    while (strip.children.length > STRIP) strip.lastChild?.remove();
  }

  /**
   * @param {string} label
   * @param {(File | Taken)[]} sources
   */
  async #enroll(label, sources) {
    try {
      const change = await this.classifier.enroll(label, sources);
      this.canUndo = true;
      const learned = text(change.added ? "learned" : "nothingNew", { label: nameOf(label), count: change.added });
      const doubts = doubtsOf(label, change);
      this.#say([learned, ...doubts].join(" "), doubts.length > 0);
      await this.refresh();
    } catch (error) {
      this.complain(error);
    }
  }

  /** @param {string} label */
  async #open(label) {
    element("class-title").textContent = nameOf(label);
    element("rename").hidden = label === NONE_OF_THESE;
    /** @type {HTMLInputElement} */ (element("rename-name")).value = label;
    await this.#showPictures(label);
    const dialog = /** @type {HTMLDialogElement} */ (element("class-dialog"));
    dialog.dataset.label = label;
    if (!dialog.open) dialog.showModal();
  }

  /** @param {string} label */
  async #showPictures(label) {
    const examples = await this.classifier.examples(label);
    const shown = await Promise.all(
      examples.map(async ({ id }) => {
        const picture = await this.classifier.thumbnail(id);
        const remove = make("button", { type: "button" });
        remove.setAttribute("aria-label", text("removePicture", { number: id }));
        remove.append(picture === null ? `#${id}` : pictureOf(picture, ""));
        remove.disabled = !this.mayTeach;
        remove.addEventListener("click", () =>
          this.#do(() => this.classifier.remove([id]), text("removed")).then(() => this.#showPictures(label)),
        );
        return remove;
      }),
    );
    element("pictures").replaceChildren(...(shown.length ? shown : [text("noPictures")]));
  }

  #listenToDialog() {
    const dialog = /** @type {HTMLDialogElement} */ (element("class-dialog"));
    const label = () => dialog.dataset.label ?? "";
    element("class-close").addEventListener("click", () => dialog.close());
    element("forget").addEventListener("click", async () => {
      dialog.close();
      if (this.named.delete(label())) await this.refresh();
      else await this.#do(() => this.classifier.forget(label()), text("removed"));
    });
    element("rename").addEventListener("submit", async (event) => {
      event.preventDefault();
      const next = /** @type {HTMLInputElement} */ (element("rename-name")).value.trim();
      dialog.close();
      const merge = next !== label() && ((await this.classifier.classes()).get(next) ?? 0) > 0;
      if (merge && !confirm(text("merge", { label: next }))) return;
      await this.#do(() => this.classifier.rename(label(), next, merge), "");
    });
    element("add-files").addEventListener("change", async (event) => {
      const input = /** @type {HTMLInputElement} */ (event.target);
      await this.learn(label(), input.files ?? []);
      input.value = "";
      await this.#showPictures(label());
    });
  }

  /**
   * @param {() => Promise<unknown>} work
   * @param {string} said
   */
  async #do(work, said) {
    try {
      await work();
      this.canUndo = true;
      this.#say(said);
      await this.refresh();
    } catch (error) {
      this.complain(error);
    }
  }

  /**
   * @param {string} said
   * @param {boolean} warns
   */
  #say(said, warns = false) {
    const notice = element("notice");
    notice.textContent = said;
    notice.classList.toggle("warn", warns);
  }
}

/**
 * How a class is called on the page: what must not pass is no class, and has a name in each language.
 * @param {string} label
 * @returns {string}
 */
function nameOf(label) {
  return label === NONE_OF_THESE ? text("none") : label;
}

/**
 * What looks wrong about the pictures that were taken, in sentences.
 * @param {string} label
 * @param {import("./shape.js").Learned} change
 * @returns {string[]}
 */
function doubtsOf(label, { added, skipped = 0, warnings = [] }) {
  const said = added && skipped ? [text("duplicates", { count: skipped })] : [];
  for (const kind of ["duplicate", "blank", "blur", "alike"]) {
    /** @type {Map<string, number>} */
    const counts = new Map();
    // Of a class's own duplicates it was said already.
    const about = warnings.filter((one) => one.kind === kind && !(kind === "duplicate" && one.label === label));
    for (const one of about) counts.set(one.label, (counts.get(one.label) ?? 0) + 1);
    for (const [other, count] of counts) said.push(text(kind, { count, label: nameOf(other) }));
  }
  return said;
}
