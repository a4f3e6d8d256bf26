/** A prediction: what the head and the stored examples together make of one image. */

import { GalleryError } from "../errors.js";
import { decide } from "./decision.js";
import { findLimits, isUnwanted, judge } from "./unknown.js";

/**
 * What the classifier makes of one image: the best class, also where `unknown` is set; its share of the decision; what
 * spoke for it; whether the image is like nothing that was trained or enrolled, and whether that is as an example of what
 * must not pass is nearer; every class, best first; the stored
 * examples that are nearest (`id` 0: one that came with the bundle); known-ness and what was asked of it.
 * @typedef {{label: string, score: number, source: "head" | "gallery", unknown: boolean,
 *   noneOfThese: boolean,
 *   ranked: {label: string, score: number}[], neighbours: {id: number, label: string, similarity: number}[],
 *   knownness: number, threshold: number}} Prediction
 *
 * What answers are based on: what the model's outputs are compared with, and by which rule.
 * @typedef {{bank: import("./bank.js").Bank, decision: import("../bundle/manifest.js").Decision, examples: number[], heard: boolean[] | null,
 *   limits: import("./unknown.js").Limits}} Basis
 */

/**
 * Count the examples and set the thresholds, by what the bank holds now.
 * @param {import("./bank.js").Bank} bank
 * @param {import("../bundle/manifest.js").Decision} decision
 * @param {import("./unknown.js").Knownness} knownness
 * @param {number} rate of false alarms, 0 to 1
 * @returns {Basis}
 */
export function basis(bank, decision, knownness, rate) {
  const heard = decision.means ? bank.heard() : null;
  return { bank, decision, examples: bank.counts().enrolled, heard, limits: findLimits(knownness, rate, bank) };
}

/**
 * Return the prediction for one image.
 * @param {Float32Array} probabilities the head's, [B] for the B base classes; empty for a bundle without a head
 * @param {Float32Array} embedding [D], as the model gives it
 * @param {Basis} based
 * @returns {Prediction}
 * @throws {GalleryError} there is no class at all
 */
export function answer(probabilities, embedding, based) {
  const { labels } = based.bank;
  const near = based.bank.nearby(embedding, based.decision.k);
  const { scores, enrolled } = decide(
    probabilities,
    near,
    labels.length,
    based.decision,
    based.examples,
    based.bank.toClassMeans(embedding, based.heard),
  );
  if (!scores.length) {
    throw new GalleryError("the bundle has no classes of its own and nothing is enrolled; teach a class first");
  }
  // Of equals the earlier class comes first: sorting is stable.
  const order = Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a]);
  const best = order[0];
  const { knownness, threshold } = judge(based.limits, near);
  const noneOfThese = isUnwanted(near);
  return {
    label: labels[best],
    score: scores[best],
    source: 2 * (enrolled.get(best) ?? 0) > scores[best] ? "gallery" : "head",
    unknown: noneOfThese || knownness < threshold,
    noneOfThese,
    ranked: order.map((c) => ({ label: labels[c], score: scores[c] })),
    neighbours: near.ids.map((id, i) => ({ id, label: labels[near.classes[i]], similarity: near.cosines[i] })),
    knownness,
    threshold,
  };
}
