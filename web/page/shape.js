/**
 * What the page asks of a classifier: the browser's own (`web/runtime`), or one of a device that is reached over the
 * network.
 *
 * What can be looked at is a file, or a frame of a camera here or on the device. A picture that was taken (`Taken`) is to be learned from later;
 * what is in it only the classifier knows.
 * @typedef {import("../runtime/images/load.js").Source | import("../client/device_camera.js").DeviceCamera} Shown
 * @typedef {object} Taken
 *
 * @typedef {{label: string, score: number, unknown: boolean, ranked: {label: string, score: number}[],
 *   neighbours: {id: number, label: string, similarity: number}[]}} Answer
 *
 * @typedef {{labels: string[], created: string, model: string, metrics: Record<string, unknown>,
 *   bytes: number | null}} About
 *
 * What came of learning: `warnings` is what looks wrong about the pictures (`duplicate`, `blank`, `blur` or `alike`), each
 * with the class that it is about.
 * @typedef {{added: number, skipped?: number, warnings?: {kind: string, label: string}[]}} Learned
 *
 * `selftest` is only where golden samples can be run again.
 * @typedef {{
 *   about(): Promise<About>,
 *   predict(source: Shown | Taken): Promise<Answer>,
 *   explain(answer: Answer): Promise<{id: number, label: string, picture: Blob | null}[]>,
 *   prepare(source: Shown | Taken): Promise<Taken>,
 *   pictureOf(taken: Taken): Promise<Blob>,
 *   enroll(label: string, sources: (File | Taken)[]): Promise<Learned>,
 *   forget(label: string): Promise<unknown>,
 *   rename(from: string, to: string, merge: boolean): Promise<unknown>,
 *   remove(examples: number[]): Promise<unknown>,
 *   undo(): Promise<unknown>,
 *   classes(): Promise<Map<string, number>>,
 *   examples(label: string): Promise<{id: number}[]>,
 *   thumbnail(example: number): Promise<Blob | null>,
 *   exportGallery(): Promise<Blob>,
 *   importGallery(file: Blob): Promise<Map<string, number>>,
 *   selftest?(): Promise<{images: number, lowestCosine: number, wrongLabels: number, passed: boolean}>,
 * }} PageClassifier
 *
 * Where the classifier is: `kept` says where what is taught is kept, `mayTeach` whether this visitor may, `pace` is the
 * milliseconds to leave between two frames, `device` the camera that a device has, `notice` what to say at first.
 * @typedef {{
 *   kept(): Promise<string>,
 *   mayTeach: boolean,
 *   pace: number,
 *   notice?: string,
 *   device?: import("../client/device_camera.js").DeviceCamera,
 * }} Surroundings
 */
export {};
