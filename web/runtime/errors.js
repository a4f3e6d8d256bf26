/** Errors that a person can cause or mend: each message is one sentence that says what to do next. */

/** Something that tlc refuses, in one sentence. */
export class TlcError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}

/** An argument that cannot be used. */
export class UsageError extends TlcError {}

/** A bundle that cannot be used. */
export class BundleError extends TlcError {}

/** An image that cannot be read. */
export class ImageError extends TlcError {}

/** An engine that cannot be had, or fails. */
export class EngineError extends TlcError {}

/** A model whose golden samples do not come out as they did at the build. */
export class SelftestError extends TlcError {}

/** A gallery that cannot be read or changed. */
export class GalleryError extends TlcError {}

/** A gallery of another model. */
export class FingerprintError extends GalleryError {}
