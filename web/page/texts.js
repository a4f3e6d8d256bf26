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
  alike: "Looks like {label}: {count}.",
  blur: "Blurred beside the others: {count}.",
  blank: "Of one colour, or too dark to see anything: {count}.",
  duplicate: "Also in {label}: {count}.",
  duplicates: "There already: {count}.",
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
  broughtOver: "There is a new model. {count} pictures were taught to it again.",
  broughtOverSome:
    "There is a new model. {count} pictures were taught to it again; {lost} could not be: teach those anew.",
  notBroughtOver: "There is a new model, and what was taught could not be brought over yet: {reason}",
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
  askCamera: "Allow the camera, or open a picture.",
  noCamera: "No camera was found. Take or open a picture instead.",
  noPermission: "The camera is not allowed. Allow it in the browser's settings, or take a picture instead.",
  busyCamera: "The camera is in use by something else. Close that, or take a picture instead.",
  needsHttps: "Browsers let a page see and keep things over https only: open it with https://.",
  notSecure: "Browsers give the camera to https pages only. Take or open a picture instead.",
  oldBrowser: "This browser lacks {what}. Use a newer one: Chrome 108, Firefox 114, Safari 17 or later.",
  authority: "The certificate to trust.",
  readOnly: "This link is for looking only: nothing can be taught with it.",
  device: "What the device's camera sees",
  deviceOn: "The device's camera",
  noDeviceCamera: "The device's camera gives no picture. Take or open one instead.",
  keptThere: "It stays on {name}, on its disk, and goes nowhere else.",
  queueThere: "Pictures that were unknown or unsure are kept there too, to be sorted below: the latest {count}.",
  waysSecure:
    "This page came over a secure connection, so the camera here works: {name} gets its pictures, at the size the model sees.",
  waysPlain:
    "This page came over plain http, and browsers give no camera to such pages. Take a picture, or have the device started with tlc serve --tls.",
  waysPlainDevice:
    "This page came over plain http, and browsers give no camera to such pages. The device's camera works, and so does taking a picture; with tlc serve --tls the camera here does too.",
  lost: "{name} does not answer. Trying again…",
  found: "{name} answers again.",
  unreachable: "The device does not answer.",
  tokenNeeded: "A token is needed",
  tokenHint: "Open the link that tlc serve printed, or give the token here.",
  token: "Token",
  enter: "Enter",
  queue: "To be sorted",
  queueHint: "{count} pictures were unknown or unsure lately. Tap what it is.",
  queueEmpty: "Nothing was unknown or unsure lately.",
  queuePicture: "A picture to be sorted; nearest: {label}",
  discard: "Discard",
  sorted: "{label}: learned from it.",
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
  alike: "Sieht aus wie {label}: {count}.",
  blur: "Unschärfer als die anderen: {count}.",
  blank: "Einfarbig oder zu dunkel: {count}.",
  duplicate: "Auch in {label}: {count}.",
  duplicates: "Schon da: {count}.",
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
  broughtOver: "Es gibt ein neues Modell. {count} Bilder wurden ihm wieder beigebracht.",
  broughtOverSome:
    "Es gibt ein neues Modell. {count} Bilder wurden ihm wieder beigebracht, {lost} nicht: diese bitte neu zeigen.",
  notBroughtOver: "Es gibt ein neues Modell; was beigebracht war, fehlt ihm noch: {reason}",
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
  askCamera: "Die Kamera erlauben oder ein Bild öffnen.",
  noCamera: "Keine Kamera gefunden. Bitte ein Bild aufnehmen oder öffnen.",
  noPermission: "Die Kamera ist nicht erlaubt. In den Einstellungen des Browsers erlauben oder ein Bild aufnehmen.",
  busyCamera: "Die Kamera wird gerade anderswo benutzt. Das andere schließen oder ein Bild aufnehmen.",
  needsHttps: "Browser lassen eine Seite nur über https sehen und behalten: bitte mit https:// öffnen.",
  notSecure: "Browser geben die Kamera nur Seiten mit https. Bitte ein Bild aufnehmen oder öffnen.",
  oldBrowser: "Diesem Browser fehlt {what}. Bitte einen neueren nehmen: Chrome 108, Firefox 114, Safari 17.",
  authority: "Das Zertifikat, dem zu trauen ist.",
  readOnly: "Dieser Link ist nur zum Ansehen: Damit lässt sich nichts beibringen.",
  device: "Was die Kamera des Geräts sieht",
  deviceOn: "Kamera des Geräts",
  noDeviceCamera: "Die Kamera des Geräts gibt kein Bild. Bitte eines aufnehmen oder öffnen.",
  keptThere: "Es bleibt auf {name}, auf dessen Speicher, und geht nirgendwohin.",
  queueThere:
    "Unbekannte und unsichere Bilder werden dort auch behalten, um sie unten zu sortieren: die letzten {count}.",
  waysSecure:
    "Diese Seite kam über eine sichere Verbindung, also geht die Kamera hier: {name} bekommt ihre Bilder, so groß, wie das Modell sie sieht.",
  waysPlain:
    "Diese Seite kam über einfaches http, und Browser geben solchen Seiten keine Kamera. Ein Bild aufnehmen, oder das Gerät mit tlc serve --tls starten.",
  waysPlainDevice:
    "Diese Seite kam über einfaches http, und Browser geben solchen Seiten keine Kamera. Die Kamera des Geräts geht, und Bilder aufnehmen auch; mit tlc serve --tls geht auch die Kamera hier.",
  lost: "{name} antwortet nicht. Neuer Versuch läuft…",
  found: "{name} antwortet wieder.",
  unreachable: "Das Gerät antwortet nicht.",
  tokenNeeded: "Ein Token ist nötig",
  tokenHint: "Den Link öffnen, den tlc serve ausgegeben hat, oder das Token hier eingeben.",
  token: "Token",
  enter: "Eintreten",
  queue: "Zu sortieren",
  queueHint: "{count} Bilder waren zuletzt unbekannt oder unsicher. Antippen, was es ist.",
  queueEmpty: "Zuletzt war nichts unbekannt oder unsicher.",
  queuePicture: "Ein Bild zum Sortieren; am nächsten: {label}",
  discard: "Verwerfen",
  sorted: "{label}: daraus gelernt.",
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
  alike: "تشبه {label}: {count}.",
  blur: "أقل وضوحًا من غيرها: {count}.",
  blank: "بلون واحد أو مظلمة جدًا: {count}.",
  duplicate: "موجودة أيضًا في {label}: {count}.",
  duplicates: "موجودة من قبل: {count}.",
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
  broughtOver: "يوجد نموذج جديد. أُعيد تعليمه {count} صور.",
  broughtOverSome: "يوجد نموذج جديد. أُعيد تعليمه {count} صور، وتعذّر {lost}: علّمها من جديد.",
  notBroughtOver: "يوجد نموذج جديد، ولم يُنقل إليه بعد ما تم تعليمه: {reason}",
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
  askCamera: "اسمح بالكاميرا، أو افتح صورة.",
  noCamera: "لم يُعثر على كاميرا. التقط صورة أو افتحها.",
  noPermission: "الكاميرا غير مسموح بها. اسمح بها في إعدادات المتصفح، أو التقط صورة.",
  busyCamera: "الكاميرا مستخدمة في مكان آخر. أغلقه، أو التقط صورة.",
  needsHttps: "لا تسمح المتصفحات للصفحة بالرؤية والحفظ إلا عبر https: افتحها بعنوان https://.",
  notSecure: "لا تعطي المتصفحات الكاميرا إلا لصفحات https. التقط صورة أو افتحها.",
  oldBrowser: "يفتقر هذا المتصفح إلى {what}. استخدم أحدث: Chrome 108 أو Firefox 114 أو Safari 17.",
  authority: "الشهادة التي يوثق بها.",
  readOnly: "هذا الرابط للمشاهدة فقط: لا يمكن التعليم به.",
  device: "ما تراه كاميرا الجهاز",
  deviceOn: "كاميرا الجهاز",
  noDeviceCamera: "لا تعطي كاميرا الجهاز صورة. التقط صورة أو افتحها.",
  keptThere: "يبقى على {name}، على قرصه، ولا يذهب إلى أي مكان آخر.",
  queueThere: "تُحفظ هناك أيضًا الصور غير المعروفة أو غير المؤكدة لفرزها أدناه: آخر {count}.",
  waysSecure: "جاءت هذه الصفحة عبر اتصال آمن، فتعمل الكاميرا هنا: تصل صورها إلى {name} بالحجم الذي يراه النموذج.",
  waysPlain:
    "جاءت هذه الصفحة عبر http عادي، والمتصفحات لا تعطي الكاميرا لمثلها. التقط صورة، أو شغّل الجهاز بالأمر tlc serve --tls.",
  waysPlainDevice:
    "جاءت هذه الصفحة عبر http عادي، والمتصفحات لا تعطي الكاميرا لمثلها. كاميرا الجهاز تعمل، وكذلك التقاط صورة؛ ومع tlc serve --tls تعمل الكاميرا هنا أيضًا.",
  lost: "{name} لا يجيب. تُعاد المحاولة…",
  found: "{name} يجيب من جديد.",
  unreachable: "الجهاز لا يجيب.",
  tokenNeeded: "يلزم رمز",
  tokenHint: "افتح الرابط الذي طبعه tlc serve، أو أدخل الرمز هنا.",
  token: "الرمز",
  enter: "دخول",
  queue: "للفرز",
  queueHint: "{count} صور كانت غير معروفة أو غير مؤكدة مؤخرًا. اضغط على ما هي.",
  queueEmpty: "لم يكن شيء غير معروف أو غير مؤكد مؤخرًا.",
  queuePicture: "صورة للفرز؛ الأقرب: {label}",
  discard: "تجاهل",
  sorted: "{label}: تم التعلّم منها.",
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
  for (const element of document.querySelectorAll("[data-aria]"))
    element.setAttribute("aria-label", text(element.getAttribute("data-aria") ?? ""));
  for (const element of document.querySelectorAll("[data-alt]"))
    element.setAttribute("alt", text(element.getAttribute("data-alt") ?? ""));
}
