/**
 * What else classifies a camera's frames in a browser, for benchmarks/browser.mjs: each as its own documentation shows,
 * on the processor, one thread. Runs in the page, beside what browser.py copied here of npm.
 */

const SIZE = 224;

/**
 * Load one after the other and return what classifies a video's frame, by name.
 * @param {HTMLVideoElement} video
 */
export async function others(video) {
  return {
    "onnxruntime-web": await onnxRuntime(video),
    MediaPipe: await mediaPipe(video),
    "tfjs 1.0 + knn": await tensorflow(video, 1),
    "tfjs 0.25 + knn": await tensorflow(video, 0.25),
  };
}

/** The bundle's float32 ONNX file: quantized ones are slower there. */
async function onnxRuntime(video) {
  const ort = await import("./onnxruntime-web/ort.wasm.min.mjs");
  ort.env.wasm.wasmPaths = new URL("onnxruntime-web/", import.meta.url).href;
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(new URL("model.onnx", import.meta.url).href);
  const context = new OffscreenCanvas(SIZE, SIZE).getContext("2d", { willReadFrequently: true });
  return async () => {
    context.drawImage(video, 0, 0, SIZE, SIZE);
    const { data } = context.getImageData(0, 0, SIZE, SIZE);
    const pixels = new Uint8Array(SIZE * SIZE * 3);
    for (let from = 0, to = 0; to < pixels.length; from += 4, to += 3) {
      for (let c = 0; c < 3; c++) pixels[to + c] = data[from + c];
    }
    const { probabilities } = await session.run({ image: new ort.Tensor("uint8", pixels, [1, SIZE, SIZE, 3]) });
    return probabilities.data.indexOf(Math.max(...probabilities.data));
  };
}

/** The bundle's own TFLite file. */
async function mediaPipe(video) {
  const { ImageClassifier } = await import("./tasks-vision/vision_bundle.mjs");
  const at = (name) => new URL(name, import.meta.url).href;
  const wasm = {
    wasmLoaderPath: at("tasks-vision/wasm/vision_wasm_internal.js"),
    wasmBinaryPath: at("tasks-vision/wasm/vision_wasm_internal.wasm"),
  };
  const classifier = await ImageClassifier.createFromOptions(wasm, {
    baseOptions: { modelAssetPath: at("../bundle/model.tflite"), delegate: "CPU" },
    runningMode: "VIDEO",
    maxResults: 3,
  });
  return async () =>
    classifier.classifyForVideo(video, performance.now()).classifications[0].categories[0].categoryName;
}

/**
 * MobileNet 1 and the knn-classifier. The package's own weights are not on npm, and time does not depend on them: the
 * network is made here, its normalisations folded as they are in the package's graph.
 */
async function tensorflow(video, width) {
  const tf = await script("tfjs/tf.min.js", "tf");
  await script("tfjs-backend-wasm/tf-backend-wasm.min.js");
  const knn = await script("knn-classifier/knn-classifier.min.js", "knnClassifier");
  tf.wasm.setWasmPaths(new URL("tfjs-backend-wasm/", import.meta.url).href);
  await tf.setBackend("wasm");
  await tf.ready();
  const network = mobileNet(tf, width);
  const embed = () =>
    tf.tidy(() => {
      const image = tf.image.resizeBilinear(tf.browser.fromPixels(video), [SIZE, SIZE], true);
      return network.predict(image.toFloat().div(127.5).sub(1).expandDims()).flatten();
    });
  const classifier = knn.create();
  for (let i = 0; i < 60; i++) {
    const example = embed();
    classifier.addExample(example, `class ${i % 6}`);
    example.dispose();
  }
  return async () => {
    const embedding = embed();
    const { label } = await classifier.predictClass(embedding, 3);
    embedding.dispose();
    return label;
  };
}

function mobileNet(tf, width) {
  const filters = [64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024];
  const strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1];
  const common = { padding: "same", activation: "relu" };
  const network = tf.sequential();
  const first = { filters: 32 * width, kernelSize: 3, strides: 2, inputShape: [SIZE, SIZE, 3] };
  network.add(tf.layers.conv2d({ ...common, ...first }));
  filters.forEach((count, i) => {
    network.add(tf.layers.depthwiseConv2d({ ...common, kernelSize: 3, strides: strides[i] }));
    network.add(tf.layers.conv2d({ ...common, filters: count * width, kernelSize: 1 }));
  });
  network.add(tf.layers.globalAveragePooling2d({}));
  return network;
}

/** Load a script that is no module, once, and return what it leaves under a name. */
async function script(file, name) {
  if (!document.querySelector(`script[data-file="${file}"]`)) {
    const element = document.createElement("script");
    element.dataset.file = file;
    element.src = new URL(file, import.meta.url).href;
    document.head.append(element);
    await new Promise((resolve, reject) => Object.assign(element, { onload: resolve, onerror: reject }));
  }
  return globalThis[name];
}
