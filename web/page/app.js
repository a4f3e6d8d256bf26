/** The page: a camera, the answer, and what it is taught. */

import { listen as listenToAbout } from "./about_view.js";
import { AnswerView } from "./answer_view.js";
import { Camera } from "./camera.js";
import { element, save } from "./dom.js";
import { TeachView } from "./teach_view.js";
import { text, write } from "./texts.js";

/** @typedef {import("./shape.js").PageClassifier} PageClassifier */
/** @typedef {import("./shape.js").Surroundings} Surroundings */

const AFTER_FAILURE = 1000; // milliseconds until the next frame is tried

/**
 * Let the page live.
 * @param {PageClassifier} classifier
 * @param {Surroundings} surroundings
 * @returns {Promise<Page>}
 */
export async function run(classifier, surroundings) {
  const page = new Page(classifier, surroundings);
  await page.start();
  return page;
}

/** The page, with all that is on it. */
export class Page {
  /**
   * @param {PageClassifier} classifier
   * @param {Surroundings} surroundings
   */
  constructor(classifier, surroundings) {
    this.classifier = classifier;
    this.surroundings = surroundings;
    this.camera = new Camera(/** @type {HTMLVideoElement} */ (element("video")));
    this.answers = new AnswerView(classifier);
    /** A picture that was opened stands in the place of the camera. @type {File | undefined} */
    this.still = undefined;
    this.teaching = new TeachView(
      classifier,
      () => this.#source(),
      (error) => this.complain(error),
      surroundings.mayTeach,
    );
  }

  /** Show what there is, and begin to look. */
  async start() {
    await this.#name();
    this.#listen();
    await this.teaching.refresh();
    await this.#tellWhereKept();
    element("notice").textContent = this.surroundings.notice ?? "";
    if (this.surroundings.device === undefined) await this.#startCamera();
    else this.#showDevice();
    this.#look();
  }

  /** What was taught has changed, here or elsewhere. */
  async refresh() {
    await this.teaching.refresh();
  }

  /** @param {import("./shape.js").Answer} answer to what the device's camera sees */
  showSeen(answer) {
    if (this.#source() === this.surroundings.device) this.answers.show(answer);
  }

  /** What is looked at and learned from. */
  #source() {
    if (this.still !== undefined) return this.still;
    if (this.surroundings.device?.isOn) return this.surroundings.device;
    return this.camera.isOn ? this.camera.video : undefined;
  }

  /** Answer frame after frame, one at a time. */
  async #look() {
    let hasFailed = false;
    for (;;) {
      if (this.#source() === this.camera.video && !document.hidden) {
        try {
          this.answers.show(await this.classifier.predict(this.camera.video));
          if (hasFailed) this.complain("");
          hasFailed = false;
        } catch (error) {
          this.complain(error);
          hasFailed = true;
          await pause(AFTER_FAILURE);
        }
        if (this.surroundings.pace) await pause(this.surroundings.pace);
      }
      await nextFrame();
    }
  }

  /** @param {File} file */
  async #showStill(file) {
    try {
      const prediction = await this.classifier.predict(file);
      this.still = file;
      const image = /** @type {HTMLImageElement} */ (element("still"));
      URL.revokeObjectURL(image.src);
      image.src = URL.createObjectURL(file);
      image.alt = file.name;
      image.hidden = false;
      this.#stopCameras();
      this.complain("");
      this.answers.show(prediction);
    } catch (error) {
      this.complain(error);
    }
  }

  /** Let all cameras go, and offer them. */
  #stopCameras() {
    this.camera.stop();
    this.surroundings.device?.stop();
    element("camera-on").hidden = !Camera.isAllowed && this.surroundings.device !== undefined;
    element("device-on").hidden = this.surroundings.device === undefined;
    element("flip").hidden = true;
  }

  /** Show what the device's own camera sees; it answers by itself. */
  #showDevice() {
    this.#stopCameras();
    this.still = undefined;
    element("still").hidden = true;
    element("device-on").hidden = true;
    this.surroundings.device?.start();
    this.complain("");
  }

  async #startCamera() {
    // The browser asks the person now, and waits for as long as that takes.
    if (this.#source() === undefined) element("status").textContent = text("askCamera");
    try {
      await this.camera.start();
      this.surroundings.device?.stop();
      element("device-on").hidden = this.surroundings.device === undefined;
      this.still = undefined;
      element("still").hidden = true;
      element("camera-on").hidden = true;
      element("flip").hidden = !(await this.camera.hasOther());
      this.complain("");
    } catch (error) {
      element("camera-on").hidden = false;
      this.complain(error);
    }
  }

  async #name() {
    const name = (await this.classifier.about()).labels.join(", ");
    element("name").textContent = name;
    document.title = name ? `tlc: ${name}` : "tlc";
  }

  #listen() {
    element("flip").addEventListener("click", () => this.camera.flip().catch((error) => this.complain(error)));
    element("camera-on").addEventListener("click", () => this.#startCamera());
    element("device-on").addEventListener("click", () => this.#showDevice());
    for (const id of ["take", "open"]) {
      const input = /** @type {HTMLInputElement} */ (element(id));
      input.addEventListener("change", () => input.files?.[0] && this.#showStill(input.files[0]));
    }
    element("export").addEventListener("click", async () => save(await this.classifier.exportGallery(), "tlc.gallery"));
    const incoming = /** @type {HTMLInputElement} */ (element("import"));
    incoming.addEventListener("change", () => incoming.files?.[0] && this.#import(incoming.files[0]));
    listenToAbout(this.classifier, () => {
      write();
      this.teaching.refresh();
      this.#tellWhereKept();
    });
    this.#listenToDrops();
  }

  #listenToDrops() {
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.classList.add("dragging");
    });
    document.addEventListener("dragleave", () => document.body.classList.remove("dragging"));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("dragging");
      const files = [...(event.dataTransfer?.files ?? [])];
      const label = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest?.("#list li"))
        ?.dataset.label;
      if (label) this.teaching.learn(label, files);
      else if (files[0]) this.#showStill(files[0]);
    });
  }

  /** @param {File} file */
  async #import(file) {
    try {
      const classes = await this.classifier.importGallery(file);
      await this.teaching.refresh();
      element("notice").textContent = text("imported", { count: classes.size });
    } catch (error) {
      this.complain(error);
    }
    /** @type {HTMLInputElement} */ (element("import")).value = "";
  }

  async #tellWhereKept() {
    element("kept").textContent = await this.surroundings.kept();
  }

  /** @param {unknown} error said in words */
  complain(error) {
    const said = error instanceof Error ? error.message : String(error);
    const notice = element("notice");
    if (said === "" && notice.classList.contains("warn")) notice.textContent = "";
    if (this.#source() === undefined || said === "") element("status").textContent = said;
    else {
      notice.textContent = said;
      notice.classList.add("warn");
    }
  }
}

/** Wait until the browser draws again; where the page is hidden, a while. */
function nextFrame() {
  if (document.hidden) return pause(300);
  return new Promise((resolve) => requestAnimationFrame(resolve));
}

/** @param {number} milliseconds */
function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
