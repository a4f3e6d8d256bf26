/** Every text of the page, in each language; `{name}` stands for what is put in. */

/** @type {Record<string, string>} */
const en = {
  stage: "Camera",
  answer: "Answer",
  classes: "Classes",
  loading: "Loading the model…",
  undo: "Undo",
  about: "About",
  flip: "Other camera",
  cameraOn: "Use the camera",
  take: "Take a picture",
  openFile: "Open a picture",
  why: "Why?",
  whyNone: "Nothing is stored that this could be compared with.",
  fromModel: "came with the model",
  teach: "Teach",
  hint: "Point the camera at it, hold a button, and move a little: some ten pictures are enough.",
  newClass: "New class",
  add: "Add",
  notNamed: "Give the class a name first.",
  none: "None of these",
  holding: "{count} pictures",
  learned: "{label}: {count} pictures learned.",
  nothingNew: "{label} has these pictures already.",
  alike: "{count} of the pictures look like {label}.",
  undone: "Undone.",
  removed: "Removed.",
  unknown: "unknown",
  unknownNearest: "Unknown (nearest: {label})",
  keep: "What was taught",
  kept: "It stays in this browser and goes nowhere else. {persisted}",
  persisted: "The browser has promised to keep it.",
  notPersisted: "The browser may delete it when space runs out: export it now and then.",
  export: "Export",
  import: "Import",
  imported: "Imported: {count} classes.",
  newVersion: "There is a new version.",
  reload: "Reload",
  name: "Name",
  rename: "Rename",
  merge: "There is a class {label} already. Join the two?",
  addFiles: "Add pictures from files",
  forget: "Forget the class",
  close: "Close",
  removePicture: "Remove picture {number}",
  noPictures: "No pictures were kept.",
  selftest: "Self-test",
  selftestPassed: "Passed: {count} samples, lowest cosine {cosine}.",
  selftestFailed: "Failed: lowest cosine {cosine}, {wrong} wrong labels.",
  language: "Language",
  bundle: "Bundle",
  built: "Built",
  model: "Model",
  accuracy: "Accuracy",
  accuracyOf: "{accuracy} % on {count} pictures it never saw ({low} to {high} %)",
  storage: "Storage",
  noCamera: "No camera was found. Take or open a picture instead.",
  noPermission: "The camera is not allowed. Allow it in the browser's settings, or take a picture instead.",
  busyCamera: "The camera is in use by something else. Close that, or take a picture instead.",
  notSecure: "Browsers give the camera to https pages only. Take or open a picture instead.",
  oldBrowser: "This browser lacks {what}. Use a newer one: Chrome 108, Firefox 114, Safari 17 or later.",
  dir: "ltr",
  languageName: "English",
};

/** @type {Record<string, string>} */
const de = {
  stage: "Kamera",
  answer: "Antwort",
  classes: "Klassen",
  loading: "Das Modell wird geladen…",
  undo: "Rückgängig",
  about: "Über",
  flip: "Andere Kamera",
  cameraOn: "Kamera benutzen",
  take: "Bild aufnehmen",
  openFile: "Bild öffnen",
  why: "Warum?",
  whyNone: "Es ist nichts gespeichert, womit sich das vergleichen ließe.",
  fromModel: "kam mit dem Modell",
  teach: "Beibringen",
  hint: "Kamera darauf richten, Knopf gedrückt halten und etwas bewegen: rund zehn Bilder reichen.",
  newClass: "Neue Klasse",
  add: "Hinzufügen",
  notNamed: "Bitte zuerst einen Namen geben.",
  none: "Nichts davon",
  holding: "{count} Bilder",
  learned: "{label}: {count} Bilder gelernt.",
  nothingNew: "{label} hat diese Bilder schon.",
  alike: "{count} der Bilder sehen aus wie {label}.",
  undone: "Rückgängig gemacht.",
  removed: "Entfernt.",
  unknown: "unbekannt",
  unknownNearest: "Unbekannt (am nächsten: {label})",
  keep: "Was beigebracht wurde",
  kept: "Es bleibt in diesem Browser und geht nirgendwohin. {persisted}",
  persisted: "Der Browser hat zugesagt, es zu behalten.",
  notPersisted: "Der Browser darf es löschen, wenn der Platz knapp wird: ab und zu exportieren.",
  export: "Exportieren",
  import: "Importieren",
  imported: "Importiert: {count} Klassen.",
  newVersion: "Es gibt eine neue Fassung.",
  reload: "Neu laden",
  name: "Name",
  rename: "Umbenennen",
  merge: "Eine Klasse {label} gibt es schon. Beide vereinen?",
  addFiles: "Bilder aus Dateien hinzufügen",
  forget: "Klasse vergessen",
  close: "Schließen",
  removePicture: "Bild {number} entfernen",
  noPictures: "Es wurden keine Bilder behalten.",
  selftest: "Selbsttest",
  selftestPassed: "Bestanden: {count} Proben, kleinster Kosinus {cosine}.",
  selftestFailed: "Nicht bestanden: kleinster Kosinus {cosine}, {wrong} falsche Namen.",
  language: "Sprache",
  bundle: "Bündel",
  built: "Gebaut",
  model: "Modell",
  accuracy: "Genauigkeit",
  accuracyOf: "{accuracy} % von {count} Bildern, die es nie sah ({low} bis {high} %)",
  storage: "Speicher",
  noCamera: "Keine Kamera gefunden. Bitte ein Bild aufnehmen oder öffnen.",
  noPermission: "Die Kamera ist nicht erlaubt. In den Einstellungen des Browsers erlauben oder ein Bild aufnehmen.",
  busyCamera: "Die Kamera wird gerade anderswo benutzt. Das andere schließen oder ein Bild aufnehmen.",
  notSecure: "Browser geben die Kamera nur Seiten mit https. Bitte ein Bild aufnehmen oder öffnen.",
  oldBrowser: "Diesem Browser fehlt {what}. Bitte einen neueren nehmen: Chrome 108, Firefox 114, Safari 17.",
  dir: "ltr",
  languageName: "Deutsch",
};

/** @type {Record<string, string>} */
const ar = {
  stage: "الكاميرا",
  answer: "الإجابة",
  classes: "الأصناف",
  loading: "جارٍ تحميل النموذج…",
  undo: "تراجع",
  about: "حول",
  flip: "الكاميرا الأخرى",
  cameraOn: "استخدم الكاميرا",
  take: "التقط صورة",
  openFile: "افتح صورة",
  why: "لماذا؟",
  whyNone: "لا يوجد شيء محفوظ للمقارنة.",
  fromModel: "جاء مع النموذج",
  teach: "علّم",
  hint: "وجّه الكاميرا إليه، واضغط الزر مطوّلًا، وتحرّك قليلًا: عشر صور تكفي.",
  newClass: "صنف جديد",
  add: "أضف",
  notNamed: "أعطِ الصنف اسمًا أولًا.",
  none: "لا شيء من هذه",
  holding: "{count} صور",
  learned: "{label}: تم تعلّم {count} صور.",
  nothingNew: "لدى {label} هذه الصور من قبل.",
  alike: "{count} من الصور تشبه {label}.",
  undone: "تم التراجع.",
  removed: "تمت الإزالة.",
  unknown: "غير معروف",
  unknownNearest: "غير معروف (الأقرب: {label})",
  keep: "ما تم تعليمه",
  kept: "يبقى في هذا المتصفح ولا يذهب إلى أي مكان آخر. {persisted}",
  persisted: "وعد المتصفح بالاحتفاظ به.",
  notPersisted: "قد يحذفه المتصفح عند امتلاء المساحة: صدّره من حين لآخر.",
  export: "تصدير",
  import: "استيراد",
  imported: "تم الاستيراد: {count} أصناف.",
  newVersion: "توجد نسخة جديدة.",
  reload: "إعادة التحميل",
  name: "الاسم",
  rename: "إعادة التسمية",
  merge: "يوجد صنف {label} من قبل. هل تُدمج الاثنان؟",
  addFiles: "أضف صورًا من ملفات",
  forget: "انسَ الصنف",
  close: "إغلاق",
  removePicture: "أزل الصورة {number}",
  noPictures: "لم تُحفظ صور.",
  selftest: "اختبار ذاتي",
  selftestPassed: "نجح: {count} عينات، أدنى جيب تمام {cosine}.",
  selftestFailed: "فشل: أدنى جيب تمام {cosine}، و{wrong} أسماء خاطئة.",
  language: "اللغة",
  bundle: "الحزمة",
  built: "تاريخ البناء",
  model: "النموذج",
  accuracy: "الدقة",
  accuracyOf: "{accuracy} ٪ من {count} صور لم يرها من قبل ({low} إلى {high} ٪)",
  storage: "التخزين",
  noCamera: "لم يُعثر على كاميرا. التقط صورة أو افتحها.",
  noPermission: "الكاميرا غير مسموح بها. اسمح بها في إعدادات المتصفح، أو التقط صورة.",
  busyCamera: "الكاميرا مستخدمة في مكان آخر. أغلقه، أو التقط صورة.",
  notSecure: "لا تعطي المتصفحات الكاميرا إلا لصفحات https. التقط صورة أو افتحها.",
  oldBrowser: "يفتقر هذا المتصفح إلى {what}. استخدم أحدث: Chrome 108 أو Firefox 114 أو Safari 17.",
  dir: "rtl",
  languageName: "العربية",
};

export const LANGUAGES = { en, de, ar };

const KEPT = "tlc-language";
let language = chosen();

/**
 * @returns {keyof typeof LANGUAGES}
 */
function chosen() {
  const wanted = [localStorage.getItem(KEPT), ...navigator.languages].map((one) => one?.split("-")[0] ?? "");
  const found = wanted.find((one) => one in LANGUAGES);
  return /** @type {keyof typeof LANGUAGES} */ (found ?? "en");
}

/**
 * Return a text in the language of the page.
 * @param {string} key
 * @param {Record<string, string | number>} given
 * @returns {string}
 */
export function text(key, given = {}) {
  const found = LANGUAGES[language][key] ?? en[key];
  return found.replace(/\{(\w+)\}/g, (_, name) => String(given[name] ?? ""));
}

/**
 * Change the language of the page, and keep the choice.
 * @param {string} name
 */
export function speak(name) {
  language = /** @type {keyof typeof LANGUAGES} */ (name);
  localStorage.setItem(KEPT, name);
  write();
}

/** The language that is spoken. */
export function spoken() {
  return language;
}

/** Write the texts of the page where the page says which belongs. */
export function write() {
  document.documentElement.lang = language;
  document.documentElement.dir = text("dir");
  for (const element of document.querySelectorAll("[data-text]"))
    element.textContent = text(element.getAttribute("data-text") ?? "");
  for (const element of document.querySelectorAll("[data-label]"))
    element.setAttribute("aria-label", text(element.getAttribute("data-label") ?? ""));
}
