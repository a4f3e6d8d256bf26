/**
 * The cut: one threshold for the whole system, found here from what the bundle ships and what is enrolled.
 *
 *     claim of c = half the shifted cosine to its nearest row + half that to the mean of its shifted rows
 *     known-ness = max over the classes of (claim of c - o(examples of c)) - ln(length of the embedding) / 4
 *
 * The right class of few examples claims less than one of many; `o` is the difference, as the build measured it. The cut
 * is the stated quantile of the known-ness of images that are known, each measured with itself left out.
 */

/** What a unit of the logarithm of an embedding's length takes from its known-ness. */
export const LENGTH = 0.25;
/** Weight of images as they are; the rest is for changed copies, as cameras make them. */
const PLAIN = 0.75;
/** Weight of enrolled examples against the build's images, once there are many. */
const ENROLLED = 0.5;
/** Enrolled examples whose word weighs half of that. */
const MANY = 3;
/** Nearer to its class than this share of the build's images: frames of one scene, not examples. */
const COPIES = 0.99;
/** Times the stated rate: more of the build's images fall below no cut. */
const MOST = 1.6;
/** Enrolled examples at which the cut is half way between the build's and the device's. */
const FIRST = 0.5;

/**
 * What a build measured of images that it knows: for each number of examples quantiles of what such a class claims of
 * its own images; and on M images in L looks, the first as they are, the best claim of the base classes (NaN: none) and
 * the logarithm of the embedding's length. Where a bundle has exemplars the images are these.
 * @typedef {{examples: number[], few: Float32Array[], claimed: Float32Array[], lengths: Float32Array[]}} Measured
 *
 * What classes claim of samples held here; -Infinity where a class has nothing to claim by. `exemplars` says which of
 * the bundle's; `ofExemplars` [E][C] is by classes that are only enrolled; `ofEnrolled` [S][C] leaves the sample out,
 * and with it all of the `standFor` examples that it is the mean of.
 * @typedef {{exemplars: number[], ofExemplars: number[][], classes: number[], ofEnrolled: number[][],
 *   lengths: number[], standFor: number[]}} Claimed
 *
 * The rule that holds until what is enrolled changes: o of each class, Infinity where it has no rows.
 * @typedef {{offsets: number[], threshold: number}} Cut
 *
 * @typedef {{score: number, weight: number}} Weighed
 */

/**
 * Return the known-ness of an embedding of this length, of which each class claims so much.
 * @param {Cut} cut
 * @param {ArrayLike<number>} claims [C]
 * @param {number} length
 * @returns {number}
 */
export function knownnessBy(cut, claims, length) {
  let best = -Infinity;
  cut.offsets.forEach((offset, c) => {
    best = Math.max(best, claims[c] - offset);
  });
  return best - LENGTH * Math.log(Math.max(length, 1e-30));
}

/**
 * Return the cut at this rate of false alarms; null where the build measured nothing.
 * @param {Measured} measured
 * @param {number} rate above 0, below 1
 * @param {number[]} own exemplars of each class
 * @param {number[]} enrolled examples of each class; merged rows count for all that they are the mean of
 * @param {Claimed} claimed
 * @returns {Cut | null}
 */
export function findCut(measured, rate, own, enrolled, claimed) {
  const plain = measured.claimed.map((looks) => looks[0]).filter(Number.isFinite);
  if (!plain.length) return null;
  const usual = quantile(plain, rate);
  const hasOwn = own.some((count) => count > 0);
  const offsets = enrolled.map((count, c) => {
    if (own[c] > 0) return 0;
    return count > 0 ? fewQuantile(measured, rate, count) - usual : Infinity;
  });
  const rows = hasOwn ? claimed.exemplars : measured.claimed.map((_, row) => row);
  const base = rows.map((row) => Array.from(measured.claimed[row]));
  const lengths = rows.map((row) => Array.from(measured.lengths[row], (length) => LENGTH * length));
  const weights = weightsOf(base);
  const first = weighedQuantile(weighed(base, lengths, weights), rate);
  const cut = { offsets: offsets.map(Math.fround), threshold: first };
  const count = enrolled.reduce((a, b) => a + b, 0);
  if (!count) return cut;
  if (hasOwn) {
    // What the enrolled classes now claim of the build's images too.
    base.forEach((looks, i) => {
      const theirs = Math.max(-Infinity, ...claimed.ofExemplars[i].map((claim, c) => minus(claim, offsets[c])));
      looks.forEach((look, l) => {
        looks[l] = Math.max(look, theirs); // NaN stays NaN
      });
    });
  }
  const ofBuild = weighed(base, lengths, weights);
  const told = tellings(measured, rate, own, enrolled, claimed, offsets, usual);
  const share = (told.length / (told.length + MANY)) * (hasOwn ? ENROLLED : 1);
  const both = [
    ...ofBuild.map(({ score, weight }) => ({ score, weight: weight * (1 - share) })),
    ...told.map((score) => ({ score, weight: share / told.length })),
  ];
  let threshold = weighedQuantile(both, rate);
  if (hasOwn) threshold = Math.min(threshold, weighedQuantile(ofBuild, Math.min(1, MOST * rate)));
  cut.threshold = first + ((threshold - first) * count) / (count + FIRST);
  return cut;
}

/**
 * Return the known-ness of enrolled samples, each with itself left out; copies and what is alone say nothing.
 * @param {Measured} measured
 * @param {number} rate
 * @param {number[]} own
 * @param {number[]} enrolled
 * @param {Claimed} claimed
 * @param {number[]} offsets
 * @param {number} usual
 * @returns {number[]}
 */
function tellings(measured, rate, own, enrolled, claimed, offsets, usual) {
  return claimed.classes.flatMap((right, i) => {
    const beside = claimed.ofEnrolled[i][right];
    const rest = enrolled[right] - claimed.standFor[i];
    const others = own[right] + rest;
    if (!(others > 0 && beside <= fewQuantile(measured, COPIES, others))) return [];
    const left = own[right] > 0 ? 0 : fewQuantile(measured, rate, rest) - usual;
    const claims = claimed.ofEnrolled[i].map((claim, c) => (c === right ? beside - left : minus(claim, offsets[c])));
    return [Math.max(...claims) - LENGTH * claimed.lengths[i]];
  });
}

/**
 * What is claimed less an offset; nothing claimed stays nothing.
 * @param {number} claim
 * @param {number} offset
 * @returns {number}
 */
function minus(claim, offset) {
  return claim === -Infinity ? -Infinity : claim - offset;
}

/**
 * Return the claim that this share of their images falls short of, for a class of so many examples.
 * @param {Measured} measured
 * @param {number} share
 * @param {number} count
 * @returns {number}
 */
function fewQuantile({ examples, few }, share, count) {
  if (!examples.length) return 0;
  const column = few.map((row) => quantile(row, share));
  return interpolate(Math.log(Math.max(count, 1)), examples.map(Math.log), column);
}

/**
 * Return weights that sum to 1, 0 for what is not a number: three quarters for the first look.
 * @param {number[][]} scores
 * @returns {number[][]}
 */
function weightsOf(scores) {
  const there = scores.map((looks) => looks.map(Number.isFinite));
  const plain = there.filter(([first]) => first).length;
  const changed = there.reduce((sum, looks) => sum + looks.slice(1).filter(Boolean).length, 0);
  return there.map((looks) =>
    looks.map((is, l) => {
      if (!is) return 0;
      if (l) return (1 - PLAIN) / changed;
      return (changed ? PLAIN : 1) / Math.max(1, plain);
    }),
  );
}

/**
 * @param {number[][]} base
 * @param {number[][]} lengths
 * @param {number[][]} weights
 * @returns {Weighed[]}
 */
function weighed(base, lengths, weights) {
  return base.flatMap((looks, i) => looks.map((look, l) => ({ score: look - lengths[i][l], weight: weights[i][l] })));
}

/**
 * Return the score below which this share of the weights lies, each in the middle of its own.
 * @param {Weighed[]} all
 * @param {number} rate
 * @returns {number}
 */
function weighedQuantile(all, rate) {
  const there = all.filter(({ weight }) => weight > 0).sort((a, b) => a.score - b.score);
  const total = there.reduce((sum, { weight }) => sum + weight, 0);
  let before = 0;
  const middles = there.map(({ weight }) => {
    before += weight;
    return (before - weight / 2) / total;
  });
  return interpolate(
    rate,
    middles,
    there.map(({ score }) => score),
  );
}

/**
 * The value below which a share of values lies, interpolated as numpy's `quantile` does.
 * @param {ArrayLike<number>} values
 * @param {number} share 0 to 1
 * @returns {number}
 */
export function quantile(values, share) {
  const sorted = Float64Array.from(values).sort();
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
}

/**
 * The value at x of what is straight between points, and goes on level beyond them.
 * @param {number} x
 * @param {number[]} xs ascending
 * @param {number[]} ys
 * @returns {number}
 */
export function interpolate(x, xs, ys) {
  if (x <= xs[0]) return ys[0];
  for (let i = 1; i < xs.length; i++) {
    if (x <= xs[i]) return ys[i - 1] + ((ys[i] - ys[i - 1]) * (x - xs[i - 1])) / (xs[i] - xs[i - 1]);
  }
  return ys[ys.length - 1];
}
