/** The answer: the best class, all of them with bars, and why. */

import { element, make, pictureOf } from "./dom.js";
import { text } from "./texts.js";

/** @typedef {import("./shape.js").Answer} Answer */

const SHOWN = 8;

/** Shows predictions as they come. */
export class AnswerView {
  /** @param {Pick<import("./shape.js").PageClassifier, "explain">} classifier */
  constructor(classifier) {
    this.classifier = classifier;
    /** @type {Answer | undefined} */
    this.latest = undefined;
    this.why = element("why");
    this.reasons = element("reasons");
    this.why.addEventListener("click", () => this.#explain());
  }

  /** @param {Answer} answer */
  show(answer) {
    const { label, score, unknown, ranked } = answer;
    this.latest = answer;
    const best = element("best");
    const said = unknown ? text("unknownNearest", { label }) : `${label} ${percent(score)}`;
    if (best.dataset.label !== `${unknown} ${label}`) {
      // A screen reader is told when the answer changes, not sixty times a minute.
      best.setAttribute("aria-live", "polite");
      best.dataset.label = `${unknown} ${label}`;
    } else best.setAttribute("aria-live", "off");
    best.textContent = said;
    best.classList.toggle("unknown", unknown);
    element("ranked").replaceChildren(...ranked.slice(0, SHOWN).map(rowOf));
    /** @type {HTMLButtonElement} */ (this.why).disabled = false;
  }

  async #explain() {
    if (this.latest === undefined) return;
    const near = await this.classifier.explain(this.latest);
    const shown = near.map(({ label, picture }) =>
      picture === null
        ? make("figure", {}, make("figcaption", { textContent: `${label} (${text("fromModel")})` }))
        : make("figure", {}, pictureOf(picture, label), make("figcaption", { textContent: label })),
    );
    this.reasons.replaceChildren(...(shown.length ? shown : [text("whyNone")]));
    this.reasons.hidden = false;
  }
}

/**
 * @param {{label: string, score: number}} ranked
 * @returns {HTMLLIElement}
 */
function rowOf({ label, score }) {
  const bar = make("span", { className: "bar" });
  bar.style.inlineSize = `${100 * Math.min(1, score)}%`;
  const said = [label, percent(score)].map((textContent) => make("span", { className: "said", textContent }));
  return make("li", {}, bar, ...said);
}

/**
 * @param {number} score
 * @returns {string}
 */
export function percent(score) {
  return `${Math.round(score * 100)} %`;
}
