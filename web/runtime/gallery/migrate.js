/**
 * A site that got another model: what people taught the one before is shown to the new one, by the pictures that were
 * kept. The old gallery stays as it is, under its own model's name.
 */

import { GalleryClient } from "./client.js";

/**
 * Which gallery a bundle's address had last.
 * @typedef {{fingerprint: string, width: number}} Owner
 *
 * What a migration did: examples that came over, and those without a picture, from which no other model can learn.
 * @typedef {{moved: number, lost: number}} Migration
 */

/**
 * Bring over what an earlier model of this address was taught; nothing where it is the same model.
 *
 * A class at a time, and what is there already is skipped: one that is stopped goes on where it was.
 * @param {URL} address of the bundle
 * @param {Owner} owner of the gallery now
 * @param {GalleryClient} gallery
 * @param {(picture: Blob) => Promise<Float32Array | null>} embed with the new model; null for what it cannot read
 * @param {URL} lib as `GalleryClient.open` takes it
 * @returns {Promise<Migration | null>}
 * @throws {import("../errors.js").GalleryError} the old gallery is in use, or damaged; it is tried again next time
 */
export async function migrate(address, owner, gallery, embed, lib) {
  const mark = `tlc-gallery ${address.href}`;
  const earlier = read(globalThis.localStorage?.getItem(mark));
  const done = earlier === null || earlier.fingerprint === owner.fingerprint ? null : await bringOver(earlier);
  globalThis.localStorage?.setItem(mark, JSON.stringify(owner));
  return done;

  /**
   * @param {Owner} before
   * @returns {Promise<Migration>}
   */
  async function bringOver({ fingerprint, width }) {
    const old = await GalleryClient.open(fingerprint, width, lib);
    try {
      const found = { moved: 0, lost: 0 };
      const examples = await old.examples();
      for (const label of new Set(examples.map((example) => example.label))) {
        const shown = await embedAll(
          examples.filter((example) => example.label === label),
          old,
          embed,
        );
        found.moved += shown.vectors.length;
        found.lost += shown.lost;
        if (shown.vectors.length) await gallery.add(label, shown.vectors, shown.sources);
      }
      return found;
    } finally {
      await old.close();
    }
  }
}

/**
 * @param {import("./gallery.js").Example[]} examples
 * @param {GalleryClient} old
 * @param {(picture: Blob) => Promise<Float32Array | null>} embed
 */
async function embedAll(examples, old, embed) {
  /** @type {Float32Array[]} */
  const vectors = [];
  /** @type {import("./packed.js").ExampleSource[]} */
  const sources = [];
  for (const { id, sha256, name } of examples) {
    const thumbnail = await old.thumbnail(id);
    const vector = thumbnail === null ? null : await embed(new Blob([thumbnail], { type: "image/jpeg" }));
    if (vector === null) continue;
    vectors.push(vector);
    sources.push({ sha256, name, thumbnail });
  }
  return { vectors, sources, lost: examples.length - vectors.length };
}

/**
 * @param {string | null | undefined} text
 * @returns {Owner | null}
 */
function read(text) {
  try {
    const { fingerprint, width } = JSON.parse(text ?? "null") ?? {};
    return typeof fingerprint === "string" && Number.isInteger(width) ? { fingerprint, width } : null;
  } catch {
    return null;
  }
}
