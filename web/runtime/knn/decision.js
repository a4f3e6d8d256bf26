/**
 * The decision: how the head's answer and the nearest stored examples become one ranking.
 *
 * The bank holds the base classes' exemplars and the enrolled examples. The k nearest rows vote. What a row has to say
 * is its own cosine and that of its class's mean, weighed by `mean`. A vote counts
 * `exp((said - most said) / temperature)`, for an enrolled row divided by as many of the votes as its class could have
 * (to the power of `balance`). The share that falls on enrolled rows goes to their classes, and the head's
 * probabilities share the rest.
 */

/** @typedef {import("../bundle/manifest.js").Decision} Decision */
/** @typedef {import("./bank.js").Nearby} Nearby */

/** Below, there is no dividing by it in float32. */
const NOTHING = 1.1754943508222875e-38;

/**
 * Join the head's answer and the votes of the nearest rows.
 * @param {Float32Array} probabilities the head's, [B] for the B base classes
 * @param {Nearby} near
 * @param {number} classes how many there are in all, at least B
 * @param {Decision} decision
 * @param {number[]} examples how many enrolled rows each class has
 * @returns {{scores: Float32Array, enrolled: Map<number, number>}} scores of all classes, base classes first, which
 *   sum to 1; and the part of a class's score that enrolled examples gave
 */
export function decide(probabilities, near, classes, decision, examples) {
  /** @type {Map<number, number>} */
  const shares = new Map();
  if (near.rows.length) {
    const votes = votesOf(near, decision);
    near.classes.forEach((c, i) => {
      if (!near.own[i] && decision.balance)
        votes[i] *= Math.min(Math.max(examples[c], 1), decision.k) ** -decision.balance;
    });
    const total = votes.reduce((a, b) => a + b, 0);
    near.classes.forEach((c, i) => {
      if (!near.own[i]) shares.set(c, (shares.get(c) ?? 0) + votes[i] / total);
    });
  }
  const scores = new Float32Array(classes);
  const base = probabilities.length;
  if (base) {
    let given = 0;
    for (const share of shares.values()) given += share;
    // Shares can sum to a little over 1; there is no less than nothing left.
    const left = Math.max(0, 1 - given);
    let total = 0;
    for (const p of probabilities) total += p;
    for (let c = 0; c < base; c++) scores[c] = total > NOTHING ? probabilities[c] * (left / total) : left / base;
  }
  for (const [c, share] of shares) scores[c] += share;
  return { scores, enrolled: shares };
}

/**
 * @param {Nearby} near
 * @param {Decision} decision
 * @returns {number[]}
 */
function votesOf(near, decision) {
  const weight = decision.mean;
  const said = near.cosines.map((cosine, i) => (1 - weight) * cosine + weight * near.toMeans[i]);
  const most = Math.max(...said);
  return said.map((one) => Math.exp((one - most) / decision.temperature));
}
