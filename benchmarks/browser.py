"""The runtime in a browser beside the one in Python: answers, embeddings, and what each part takes; in one run.

    python benchmarks/browser.py BUNDLE PHOTOS [--vendor DIR] [--others]

BUNDLE is one made for `web`, PHOTOS a folder with a folder per class. `--others` takes onnxruntime-web, MediaPipe and
TensorFlow.js from npm and times them on the same frames, in turns. Needs Chromium, Node.js and npm.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlc_edge.compiler.site.site import first_load, make_site, write_site
from tlc_edge.compiler.site.vendor import vendored
from tlc_edge.runtime import Bundle, Classifier
from tlc_edge.runtime.images.load import load_image

HERE = Path(__file__).parent
FRAME = (1280, 720)
OTHERS = {
    "onnxruntime-web": "1.30.0",
    "@mediapipe/tasks-vision": "0.10.35",
    "@tensorflow/tfjs": "4.22.0",
    "@tensorflow/tfjs-backend-wasm": "4.22.0",
    "@tensorflow-models/knn-classifier": "1.2.6",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--vendor", type=Path)
    parser.add_argument("--others", action="store_true")
    given = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("browser.py: chromium is not here", file=sys.stderr)
        return 75
    subprocess.run([HERE.parent / "tools" / "node"], check=True)
    bundle = Bundle.open(given.bundle)
    contents = make_site(bundle, vendored(given.vendor, None))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_site(work / "site", contents)
        if given.others:
            bring_others(bundle, work / "site" / "others")
        photos = sorted(path for path in given.photos.glob("*/*") if path.is_file())
        (work / "asked.json").write_text(json.dumps(python_says(bundle, photos, work)), encoding="utf-8")
        write_film(work / "film.y4m", photos[:8])
        names = [str(HERE / "browser.mjs"), chromium, str(work / "site"), str(work / "asked.json")]
        done = subprocess.run(["node", *names, str(work / "film.y4m")], capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr[-3000:], file=sys.stderr)
            return 1
        report(json.loads(done.stdout), len(photos))
    print(f"first load, from a host that does not compress: {first_load(contents) / 1e6:.2f} MB")
    return 0


def bring_others(bundle: Bundle, folder: Path) -> None:
    """Put what browser_others.mjs loads into a folder of the site."""
    npm = HERE.parent / "build" / "others"
    npm.mkdir(parents=True, exist_ok=True)
    (npm / "package.json").write_text(json.dumps({"private": True, "dependencies": OTHERS}), encoding="utf-8")
    quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--silent", "--ignore-scripts"]
    subprocess.run(["npm", "install", *quiet], cwd=npm, check=True)
    for package in OTHERS:
        short = package.rpartition("/")[2]
        source = npm / "node_modules" / package
        shutil.copytree(source if short == "tasks-vision" else source / "dist", folder / short)
    (folder / "model.onnx").write_bytes(bundle.read("model.onnx"))
    shutil.copy(HERE / "browser_others.mjs", folder)


def write_film(path: Path, photos: list[Path]) -> None:
    """Write photos as a film that Chromium's fake camera shows: YUV4MPEG2, 30 frames per second, each for a second."""
    width, height = FRAME
    with path.open("wb") as out:
        out.write(f"YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420jpeg\n".encode())
        for photo in photos:
            with Image.open(photo) as image:
                y, cb, cr = image.convert("RGB").resize(FRAME).convert("YCbCr").split()
            half = (width // 2, height // 2)
            frame = y.tobytes() + cb.resize(half).tobytes() + cr.resize(half).tobytes()
            out.write(30 * (b"FRAME\n" + frame))


def python_says(bundle: Bundle, photos: list[Path], work: Path) -> list[dict[str, Any]]:
    """Return each photo with what Python makes of it."""
    said: list[dict[str, Any]] = []
    with Classifier.open(bundle, work / "none.gallery") as classifier:
        for path in photos:
            pixels = load_image(path, bundle.manifest.preprocessing)
            answer = classifier.predict(path)
            said.append(
                {
                    "file": base64.b64encode(path.read_bytes()).decode(),
                    "pixels": base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode(),
                    "embedding": classifier.embed(path).tolist(),
                    "label": answer.label,
                    "unknown": answer.unknown,
                    "score": answer.score,
                }
            )
    return said


def report(found: dict[str, Any], photos: int) -> None:
    """Print what was found."""
    print(f"equal pixels: embeddings equal to the bit on {found['equal']} of {photos}, largest {found['largest']:g}")
    print(
        f"the browser's own decoding: the same answer on {found['answers']} of {photos}, lowest cosine "
        f"{min(found['decoded']):.6f}, largest difference of a score {found['scores']:.6f}"
    )
    medians: dict[str, float] = {}
    for name, times in found["taken"].items():
        medians[name] = statistics.median(times)
        p95 = sorted(times)[int(0.95 * len(times))]
        print(f"{name:15} p50 {medians[name]:7.2f} ms   p95 {p95:7.2f} ms   least {min(times):7.2f} ms")
    size, times = "x".join(map(str, found["size"])), medians["label"] / medians["bare"]
    print(f"a frame of {size} to its label: {times:.2f} x the bare model")


if __name__ == "__main__":
    sys.exit(main())
