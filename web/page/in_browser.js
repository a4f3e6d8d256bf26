/** The page with the runtime in this browser: nothing that is seen or taught leaves it. */

import { Classifier } from "../runtime/classifier.js";
import { run } from "./app.js";
import { text } from "./texts.js";

/**
 * Open the bundle and let the page live.
 * @param {URL} bundle its folder
 */
export async function start(bundle) {
  await run(await Classifier.open(bundle), { kept, mayTeach: true, pace: 0 });
}

/** Say where what is taught is kept, and whether the browser promised to keep it. */
async function kept() {
  const isPersisted = (await navigator.storage.persisted?.()) || (await navigator.storage.persist?.());
  return text("kept", { persisted: text(isPersisted ? "persisted" : "notPersisted") });
}
