/** What the page is: the bundle, its accuracy, the browser's storage, the self-test, the language. */

import { element, make } from "./dom.js";
import { LANGUAGES, speak, spoken, text } from "./texts.js";

/** @typedef {import("./shape.js").PageClassifier} PageClassifier */

/**
 * Let the dialog open, and do what its parts say.
 * @param {PageClassifier} classifier
 * @param {() => void} spokenAnew called when the language changed
 */
export function listen(classifier, spokenAnew) {
  const dialog = /** @type {HTMLDialogElement} */ (element("about-dialog"));
  element("about-button").addEventListener("click", async () => {
    element("facts").replaceChildren(...(await facts(classifier)));
    dialog.showModal();
  });
  element("about-close").addEventListener("click", () => dialog.close());
  element("selftest").hidden = classifier.selftest === undefined;
  element("selftest").addEventListener("click", async () => {
    const found = await classifier.selftest?.();
    if (found === undefined) return;
    const given = { count: found.images, cosine: found.lowestCosine.toFixed(4), wrong: found.wrongLabels };
    element("selftest-result").textContent = text(found.passed ? "selftestPassed" : "selftestFailed", given);
  });
  const language = /** @type {HTMLSelectElement} */ (element("language"));
  language.append(
    ...Object.entries(LANGUAGES).map(([code, texts]) =>
      make("option", { value: code, textContent: texts.languageName, selected: code === spoken() }),
    ),
  );
  language.addEventListener("change", () => {
    speak(language.value);
    spokenAnew();
  });
}

/**
 * @param {PageClassifier} classifier
 * @returns {Promise<HTMLElement[]>}
 */
async function facts(classifier) {
  const { labels, created, model, metrics, bytes } = await classifier.about();
  /** @type {[string, string][]} */
  const shown = [
    ["bundle", labels.join(", ")],
    ["built", created.slice(0, 10)],
    ["model", model],
    ["accuracy", accuracyOf(metrics)],
    ["storage", bytes === null ? "" : `${(bytes / 1e6).toFixed(1)} MB`],
  ];
  return shown
    .filter(([, value]) => value)
    .flatMap(([key, value]) => [make("dt", { textContent: text(key) }), make("dd", { textContent: value })]);
}

/**
 * @param {Record<string, unknown>} metrics
 * @returns {string}
 */
function accuracyOf(metrics) {
  const found = /** @type {any} */ (metrics);
  const interval = found.accuracy_interval ?? found.interval;
  if (typeof found.accuracy !== "number") return "";
  const whole = (/** @type {number} */ share) => Math.round(share * 100);
  if (!Array.isArray(interval)) return `${whole(found.accuracy)} %`;
  return text("accuracyOf", {
    accuracy: whole(found.accuracy),
    count: found.images ?? "",
    low: whole(interval[0]),
    high: whole(interval[1]),
  });
}
