/** The page with the runtime in this browser: nothing that is seen or taught leaves it. */

import { Classifier } from "../runtime/classifier.js";
import { run } from "./app.js";
import { text } from "./texts.js";

/**
 * Open the bundle and let the page live.
 * @param {URL} bundle its folder
 */
export async function start(bundle) {
  const classifier = await Classifier.open(bundle);
  await run(classifier, { kept, mayTeach: true, pace: 0, notice: noticeOf(classifier.migration) });
}

/**
 * What to say of a model that is new here.
 * @param {Classifier["migration"]} migration
 */
function noticeOf(migration) {
  if (migration === null) return "";
  if (migration instanceof Error) return text("notBroughtOver", { reason: migration.message });
  return text(migration.lost ? "broughtOverSome" : "broughtOver", { count: migration.moved, lost: migration.lost });
}

/** Say where what is taught is kept, and whether the browser promised to keep it. */
async function kept() {
  const isPersisted = (await navigator.storage.persisted?.()) || (await navigator.storage.persist?.());
  return text("kept", { persisted: text(isPersisted ? "persisted" : "notPersisted") });
}
