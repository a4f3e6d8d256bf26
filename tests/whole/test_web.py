"""The bundle for `web` in a real browser: LiteRT.js and onnxruntime-web, fed by what labels.json says."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc_edge.compiler import Options, build
from tlc_edge.compiler.verify.statistics import cosines
from tlc_edge.runtime import Bundle
from tlc_edge.runtime.engines.open import open_engine
from tlc_edge.runtime.images.load import load_image

pytestmark = pytest.mark.slow

PACKAGES = ["@litertjs/core@2.5.3", "@litertjs/wasm-utils@2.5.3", "onnxruntime-web@1.30.0"]
_SECONDS = 300
PAGE = """<!doctype html><meta charset="utf-8">
<script type="importmap">{"imports": {
  "@litertjs/core": "/lib/@litertjs/core/dist/index.js",
  "@litertjs/wasm-utils": "/lib/@litertjs/wasm-utils/dist/index.js"
}}</script>
<script type="module">
const send = (what) => fetch("/answer", {method: "POST", body: JSON.stringify(what)});
try {
  const litert = await import("@litertjs/core");
  const ort = await import("/lib/onnxruntime-web/dist/ort.wasm.min.mjs");
  const about = await (await fetch("/bundle/labels.json")).json();
  const [, height, width, channels] = about.input.shape;

  async function pixels(path) {
    const blob = await (await fetch(path)).blob();
    const image = await createImageBitmap(blob, {
      resizeWidth: width, resizeHeight: height, resizeQuality: "high", colorSpaceConversion: "none",
    });
    const canvas = new OffscreenCanvas(width, height).getContext("2d");
    canvas.drawImage(image, 0, 0);
    const rgba = canvas.getImageData(0, 0, width, height).data;
    const found = new Uint8Array(width * height * channels);
    for (let i = 0; i < width * height; i++)
      for (let c = 0; c < channels; c++) found[channels * i + c] = rgba[4 * i + c];
    return found;
  }

  await litert.loadLiteRt("/lib/@litertjs/core/wasm/");
  const tflite = await litert.loadAndCompile("/bundle/model.tflite", {accelerator: "wasm"});
  ort.env.wasm.wasmPaths = "/lib/onnxruntime-web/dist/";
  ort.env.wasm.numThreads = 1;
  const onnx = await ort.InferenceSession.create("/bundle/model.onnx");

  const found = [];
  for (const path of IMAGES) {
    const data = await pixels(path);
    const one = await tflite.run({image: new litert.Tensor(data, about.input.shape)});
    const other = await onnx.run({image: new ort.Tensor("uint8", data, about.input.shape)});
    found.push({
      "model.tflite": about.outputs.map((name) => [...one[name].toTypedArray()]),
      "model.onnx": about.outputs.map((name) => [...other[name].data]),
    });
  }
  await send({labels: about.labels, found});
} catch (e) {
  await send({error: String(e && e.stack || e)});
}
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium is installed")
    return found


@pytest.fixture(scope="module")
def libraries(pytestconfig: pytest.Config) -> Path:
    """The two libraries from npm, installed once and kept in pytest's cache."""
    assert pytestconfig.cache is not None
    home = pytestconfig.cache.mkdir("clients") / "web"
    ready = home / "ready.txt"
    if ready.is_file() and ready.read_text() == "\n".join(PACKAGES):
        return home / "node_modules"
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    home.mkdir(exist_ok=True)
    command = ["npm", "install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", *PACKAGES]
    try:
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install within {_SECONDS} s")
    if done.returncode:
        pytest.skip(f"npm cannot install here: {done.stderr.strip()[-200:]}")
    ready.write_text("\n".join(PACKAGES))
    return home / "node_modules"


@contextmanager
def served(files: dict[str, bytes], libraries: Path) -> Iterator[tuple[str, Queue[Any]]]:
    """Serve files and libraries on this machine; yields the address, and what pages post."""
    answers: Queue[Any] = Queue()
    types = {".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            file = libraries / path.removeprefix("/lib/")
            data = files.get(path, file.read_bytes() if path.startswith("/lib/") and file.is_file() else None)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Type", types.get(Path(path).suffix, "application/octet-stream"))
            self.end_headers()
            self.wfile.write(data or b"")

        def do_POST(self) -> None:
            answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", answers
        finally:
            server.shutdown()


def browse(browser: str, address: str, answers: Queue[Any], profile: Path) -> Any:
    """Open a page in Chromium and return what it posts."""
    # Without a port for a debugger, a headless Chromium leaves before the page has done its work.
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    plain = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    command = [browser, *plain, *quiet, address]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            return answers.get(timeout=_SECONDS)
        except Empty:
            pytest.fail(f"the page gave no answer within {_SECONDS} s")
        finally:
            process.terminate()


def test_both_libraries_agree_with_the_runtime(photos: Path, libraries: Path, browser: str, tmp_path: Path) -> None:
    path = tmp_path / "photos.tlc"
    build(Options(data=str(photos), targets=("web",), output=path, max_drop=50.0, calibration=12))
    bundle = Bundle.open(path)
    samples = sorted(name for name in bundle.files if name.startswith("golden/") and name.endswith(".png"))
    files = {f"/bundle/{name}": data for name, data in bundle.files.items()}
    files["/page.html"] = PAGE.replace("IMAGES", json.dumps([f"/bundle/{name}" for name in samples])).encode()
    with served(files, libraries) as (address, answers):
        answer = browse(browser, f"{address}/page.html", answers, tmp_path / "profile")
    assert "error" not in answer, answer["error"]
    assert answer["labels"] == list(bundle.manifest.labels)
    for file, kind, probability, cosine in (
        ("model.tflite", "ai-edge-litert", 0.1, 0.99),
        ("model.onnx", "onnxruntime", 1e-3, 0.9999),
    ):
        engine, _ = open_engine(bundle, kind)
        for name, found in zip(samples, answer["found"], strict=True):
            image = load_image(bundle.read(name), bundle.manifest.preprocessing)
            probabilities, embedding = engine.run(image)
            theirs, other = (np.asarray(values, np.float32) for values in found[file])
            assert difference(theirs, probabilities) < probability
            assert cosines(other[None], embedding[None])[0] > cosine


def difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.abs(a - b).max())
