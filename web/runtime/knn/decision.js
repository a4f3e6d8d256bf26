/**
 * The decision: how the head's answer and the nearest stored examples become one ranking.
 *
 * The bank holds the base classes' exemplars and the enrolled examples. The k nearest rows vote. What a row has to say
 * is its own cosine and that of its class's mean, weighed by `mean`. A vote counts
 * `exp((said - most said) / temperature)`, for an enrolled row divided by as many of the votes as its class could have
 * (to the power of `balance`). The share that falls on enrolled rows goes to their classes, and the head's
 * probabilities share the rest.
 *
 * Once something is enrolled, the means of all classes are heard as well: each class gets a share
 * `exp(cosine to its mean / temperature)` over the sum of these, and the score is the average of what was and this share,
 * which is weighed by `means`.
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
 * @param {number[] | null} classMeans cosine to the mean of each class, -Infinity where it has no rows; null leaves it at
 *   head and votes
 * @returns {{scores: Float32Array, enrolled: Map<number, number>}} scores of all classes, base classes first, which
 *   sum to 1; and the part of a class's score that enrolled examples gave
 */
export function decide(probabilities, near, classes, decision, examples, classMeans) {
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
  if (classMeans === null || !decision.means) return { scores, enrolled: shares };
  return hearMeans(scores, shares, base, decision, classMeans);
}

/**
 * @param {Float32Array} scores
 * @param {Map<number, number>} shares
 * @param {number} base
 * @param {Decision} decision
 * @param {number[]} classMeans
 */
function hearMeans(scores, shares, base, { means, meansTemperature }, classMeans) {
  const most = Math.max(...classMeans);
  const said = classMeans.map((cosine) => Math.exp((cosine - most) / meansTemperature));
  const total = said.reduce((a, b) => a + b, 0);
  const weight = means / (1 + means) / total;
  const enrolled = new Map([...shares].map(([c, share]) => [c, share / (1 + means)]));
  // A base class's mean is the bundle's own word; that of another class comes from the gallery.
  for (let c = base; c < scores.length; c++) enrolled.set(c, (enrolled.get(c) ?? 0) + said[c] * weight);
  return { scores: scores.map((score, c) => score / (1 + means) + said[c] * weight), enrolled };
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
