"""The folder that any static host serves: the page, the runtime in JavaScript, the libraries, and the bundle."""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import json
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path

from tlc_edge.runtime.bundle.bundle import DIGEST, MANIFEST, Bundle, check_writable
from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.files import beside, put_in_place, write_folder
from tlc_edge.runtime.images.page_icon import app_manifest, page_icon
from tlc_edge.runtime.knn.enroll_warnings import sharpness_of_files
from tlc_edge.targets import all_targets

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
_PACKED = (".wasm", ".tflite", ".js", ".css", ".html", ".npz", ".json")  # what gets smaller
_LEAST_PACKED = 4096  # bytes; below, it is not worth a second file
_ICONS = (192, 512)
_WORKER = "sw.js"
_GOLDEN = 1  # as many as web/runtime/engines/selftest.js tries
_FILES_LINE, _VERSION_LINE = "const FILES = {};", 'const VERSION = "";'


def make_site(bundle: Bundle, libraries: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of a site for a bundle, by name.

    Args:
        bundle: one with a TFLite file whose input is uint8, as those for `web` have.
        libraries: as `vendored` returns them.

    Raises:
        BuildError: the bundle has no such file.
    """
    check_bundle(bundle)
    contents = {**_own(), **libraries, **{f"bundle/{name}": data for name, data in _of_bundle(bundle).items()}}
    contents["index.html"] = contents.pop("page/index.html")
    worker = contents.pop(f"page/{_WORKER}")
    contents["app.webmanifest"] = _web_manifest(bundle)
    contents["site.json"] = b'{"mode": "browser"}\n'
    contents |= {f"page/icon-{size}.png": page_icon(size) for size in _ICONS}
    packed = {
        f"{name}.gz": gzip.compress(data, 9, mtime=0)
        for name, data in contents.items()
        if _is_packed(name, data) and f"{name}.gz" not in contents
    }
    return {**contents, **packed, _WORKER: _service_worker(worker, contents)}


def first_load(contents: Mapping[str, bytes]) -> int:
    """Return how many bytes a first visit fetches from a host that does not compress: of the engine one build."""
    unused = ("litert_wasm_compat_internal.js", "litert_wasm_compat_internal.wasm")
    return sum(
        len(contents.get(f"{name}.gz", data)) for name, data in contents.items() if not name.endswith((".gz", *unused))
    )


def check_bundle(bundle: Bundle) -> None:
    """Say before the work that a page cannot run a bundle: it wants a TFLite file with uint8 in and float32 out.

    Raises:
        BuildError: there is no such file in it.
    """
    if not any(model.format == "tflite" for model in bundle.manifest.models):
        raise BuildError(f"{bundle.path}: no TFLite file in it, which a page runs; build it with --target web")
    name = bundle.manifest.target.get("name")
    target = next((t for t in all_targets() if t.name == name), None)
    if target is not None and (target.input_dtype, target.output_dtype) != ("uint8", "float32"):
        raise BuildError(
            f"{bundle.path}: built for {name}, whose file takes {target.input_dtype} and gives {target.output_dtype}, "
            "which no browser runs; build it with --target web"
        )


def check_site(path: Path, force: bool) -> None:
    """Say before the work that a site cannot go to `path`; with `force` it may take an earlier one's place.

    Raises:
        UsageError, BundleError: as `check_writable`.
    """
    is_site = (path / _WORKER).is_file() and (path / "bundle" / MANIFEST).is_file()
    if not (is_site and force):
        check_writable(path, force)


def write_site(path: Path, contents: Mapping[str, bytes], force: bool = False) -> None:
    """Write a site, whole or not at all.

    Raises:
        UsageError: the path exists and `force` is not set.
        BuildError: it cannot be written.
    """
    check_site(path, force)
    try:
        with beside(path) as part:
            write_folder(part, contents)
            put_in_place(part, path)
    except OSError as e:
        raise BuildError(f"{path}: cannot be written ({e.strerror or e}); nothing was left behind") from None


def _own() -> dict[str, bytes]:
    root = importlib.resources.files("tlc_edge.web")
    return {
        f"{room}/{name}": file.read_bytes()
        for room in ("page", "runtime")
        for name, file in _walk(root / room)
        if name.endswith(tuple(_TYPES))
    }


def _walk(folder: Traversable, before: str = "") -> Iterator[tuple[str, Traversable]]:
    for inner in sorted(folder.iterdir(), key=lambda one: one.name):
        if inner.is_dir():
            yield from _walk(inner, f"{before}{inner.name}/")
        else:
            yield f"{before}{inner.name}", inner


def _of_bundle(bundle: Bundle) -> dict[str, bytes]:
    """Return what of a bundle a page reads: not the models for other engines, nor the report."""
    others = {model.file for model in bundle.manifest.models if model.format != "tflite"}
    golden = sorted(name for name in bundle.files if name.startswith("golden/") and name.endswith(".png"))
    left_out = {*others, *golden[_GOLDEN:], "report.html", "report.json", "labels.json"}
    contents = {name: data for name, data in bundle.files.items() if name not in left_out}
    looks = sharpness_of_files([bundle.files[name] for name in golden])
    contents["golden/sharpness.json"] = json.dumps([round(value, 4) for value in looks]).encode()
    return contents | {DIGEST: f"{hashlib.sha256(bundle.files[MANIFEST]).hexdigest()}\n".encode()}


def _is_packed(name: str, data: bytes) -> bool:
    return name.endswith(_PACKED) and len(data) >= _LEAST_PACKED


def _service_worker(source: bytes, contents: Mapping[str, bytes]) -> bytes:
    """Return the service worker with the list of files; its bytes change whenever one of theirs does."""
    files = {
        name: {
            "hash": hashlib.sha256(data).hexdigest(),
            "type": _TYPES.get(Path(name).suffix, "application/octet-stream"),
            "packed": _is_packed(name, data),
            "late": name.startswith("lib/litert/wasm/"),
        }
        for name, data in sorted(contents.items())
        if not name.endswith(".gz")
    }
    listed = (
        "{\n" + ",\n".join(f"{json.dumps(n)}: {json.dumps(f, separators=(',', ':'))}" for n, f in files.items()) + "\n}"
    )
    version = hashlib.sha256(source + listed.encode()).hexdigest()[:16]
    text = source.decode()
    assert _FILES_LINE in text, "the service worker has no line for its files"
    assert _VERSION_LINE in text, "the service worker has no line for its version"
    return (
        text.replace(_FILES_LINE, f"const FILES = {listed};")
        .replace(_VERSION_LINE, f'const VERSION = "{version}";')
        .encode()
    )


def _web_manifest(bundle: Bundle) -> bytes:
    labels = ", ".join(bundle.manifest.labels)
    icons = [
        {"src": f"page/icon-{size}.png", "sizes": f"{size}x{size}", "type": "image/png", "purpose": "any maskable"}
        for size in _ICONS
    ]
    return app_manifest(f"tlc: {labels}"[:60] if labels else "tlc", icons)
