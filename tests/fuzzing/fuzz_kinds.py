"""Every kind of input that is attacked: those of fuzz_targets, ONNX files, addresses, and pages of others' words.

An address is tried with nothing to answer it: what leaves the process is refused here. What must not be said of one is
its password; what must not be in a page or a manifest that is made is an element or a line that was in the words.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from fuzz_targets import TARGETS as FILES
from fuzz_targets import Run, Target, small_bundle

from tlc_edge.runtime.bundle.bundle import Bundle, write_bundle
from tlc_edge.runtime.bundle.manifest import Manifest, ModelFile, Preprocessing
from tlc_edge.runtime.classifier import Classifier
from tlc_edge.runtime.errors import BuildError, DeviceError, TlcError

SECRET = "hunter2zq7"
"""A password."""
MARK = "zq7"
"""What no element, attribute or line of a page may be called."""
HOSTILE_NAMES = (
    f"<{MARK} {MARK}={MARK}>",
    f'"><{MARK} on{MARK}="1">',
    f"'/><script>{MARK}</script>",
    f"--><{MARK}/>",
    f"</script><{MARK}>",
    f"</style><{MARK}>",
    f"]]><{MARK}>",
    f"javascript:{MARK}",
    f"{{{{ {MARK} }}}}",
)


def _onnx(folder: Path) -> tuple[list[bytes], Run]:
    """An ONNX file as a backbone: loaded and cut, as the process does that tries it first."""
    from onnx_networks import Small

    from tlc_edge.compiler.backbones.onnx_file import read_network
    from tlc_edge.compiler.backbones.shave import shave
    from tlc_edge.compiler.options import Asked

    small = (
        Small(),
        Small(channels_last=True, begin="uint8", classifier="matmul"),
        Small(half=True, classifier="places"),
    )
    seeds = [Path(one.save(folder, f"{i}.onnx")).read_bytes() for i, one in enumerate(small)]
    path = folder / "net.onnx"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        shave(read_network(str(path), Asked(pixels="0..255")))

    return seeds, run


def model_in_a_bundle() -> bytes:
    """Return an ONNX file as those in a bundle are."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["embedding"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["embedding", "kernel"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 8, 8, 3])
    gives = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 4]),
        helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 3]),
    ]
    graph = helper.make_graph(nodes, "g", [image], gives, [numpy_helper.from_array(weights, "kernel")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"labels": json.dumps(list("abcd"))})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _model_in_a_bundle(folder: Path) -> tuple[list[bytes], Run]:
    """An ONNX file that a stranger's bundle brings, with the right hashes: opened and asked once."""
    path, seed = folder / "small.tlc", model_in_a_bundle()
    image = np.zeros((8, 8, 3), np.uint8)

    def run(data: bytes) -> None:
        files = {"model.onnx": data, "labels.txt": b"a\nb\nc\nd\n"}
        manifest = Manifest(
            fingerprint="0" * 64,
            labels=tuple("abcd"),
            preprocessing=Preprocessing(8, 8),
            models=(ModelFile("model.onnx", "onnx", "float32", len(data)),),
            embedding_width=3,
            scheme="float32",
            files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        )
        write_bundle(path, manifest, files, force=True)
        with Classifier.open(path, threads=1, selftest=False) as classifier:
            classifier.predict(image)

    return [seed], run


@contextmanager
def nothing_answers() -> Generator[None]:
    """Refuse whatever would leave this process."""

    def refused(*_: object, **__: object) -> Any:
        raise OSError("nothing answers here")

    with (
        patch.object(socket.socket, "connect", refused),
        patch.object(socket, "getaddrinfo", refused),
        patch.object(socket, "create_connection", refused),
    ):
        yield


def _address(folder: Path) -> tuple[list[bytes], Run]:
    """An address, put together of its parts: of a camera, a broker, a receiver, a data set."""
    from tlc_edge.compiler.data.forms.address import address_name, told
    from tlc_edge.compiler.data.load import Origin, load_dataset
    from tlc_edge.runtime.watch.address import shown
    from tlc_edge.runtime.watch.frames import open_frames
    from tlc_edge.runtime.watch.mqtt import Mqtt

    parts = {"scheme": "http", "user": "me", "host": "cam.local", "port": "80", "path": "a/b.jpg", "query": "q=1"}
    documents = [
        parts,
        {**parts, "scheme": "https", "path": "set.zip"},
        {**parts, "scheme": "mqtt", "path": "tlc/door", "query": ""},
        {**parts, "scheme": "HTTP", "host": "[::1]", "user": "", "path": ""},
    ]

    def run(data: bytes) -> None:
        try:
            found = json.loads(data)
            p = {key: str(found[key]) for key in parts}
        except (ValueError, RecursionError, KeyError, TypeError):
            raise BuildError("address: not JSON") from None
        if SECRET in data.decode("utf-8", "replace"):
            raise BuildError("address: the password stands where it is no secret")
        address = f"{p['scheme']}://{p['user']}:{SECRET}@{p['host']}:{p['port']}/{p['path']}"
        address += f"?{p['query']}" if p["query"] else ""
        said = [shown(address), told(address)]
        refused: list[str] = []

        def tried(act: Any) -> None:
            try:
                act()
            except TlcError as e:
                refused.append(str(e))

        scheme = p["scheme"].lower()
        with nothing_answers():
            if scheme in ("http", "https"):  # OpenCV, which opens the others, asks nobody here
                tried(lambda: open_frames(address))
            if scheme not in ("http", "https") or ".zip" in p["path"]:
                tried(lambda: load_dataset(Origin(address, cache=str(folder / "cache"))))
            if scheme not in ("http", "https"):
                tried(lambda: Mqtt(address, refused.append))
            tried(lambda: said.append(address_name(address)))
        out = [text for text in (*said, *refused) if SECRET in text]
        assert not out, f"the password is said: {out}"
        assert "/" not in said[-1] or len(said) == 2, said
        refused = [text for text in refused if "nothing answers here" not in text]
        if refused:
            raise DeviceError(refused[0])

    return [json.dumps(d).encode() for d in documents], run


class Page(HTMLParser):
    """Notes what of the words became part of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See an element."""
        if MARK in tag or any(MARK in name for name, _ in attrs):
            self.found.append(f"{tag} {attrs}"[:200])
        for name, value in attrs:
            runs = name.startswith("on") or (name in ("href", "src") and str(value).strip().startswith("javascript"))
            if runs and MARK in str(value):
                self.found.append(f"{tag} {name}={value}"[:200])

    def handle_comment(self, data: str) -> None:
        """See a comment."""
        self.found += [data[:200]] if MARK in data else []


def _words(data: bytes) -> list[str]:
    """Return five texts that an input stands for, each with something hostile in it."""
    text = data.decode("utf-8", "surrogateescape")
    pieces = [*text.split("\n"), "", "", "", ""]
    return [f"{piece[:150]}{HOSTILE_NAMES[(i + len(data)) % len(HOSTILE_NAMES)]}" for i, piece in enumerate(pieces[:5])]


def _report(_folder: Path) -> tuple[list[bytes], Run]:
    """The page of a report, of labels, names, reasons and a manifest that others wrote."""
    from report_samples import make

    from tlc_edge.compiler.data.records import Skipped
    from tlc_edge.compiler.report.document import report_json
    from tlc_edge.compiler.report.page import report_html

    def run(data: bytes) -> None:
        words = _words(data)
        labels = [f"{i}{word}" for i, word in enumerate(words[:3])]
        names = [f"{words[3]}{i}" for i in range(6)]
        skipped = (Skipped(words[4], words[3]),)
        findings, pictures = make(labels, 6, wrong=(1,), names=names, skipped=skipped, said=words[4])
        html = report_html(findings, pictures, words[3]).decode()
        page = Page()
        page.feed(html)
        page.close()
        assert not page.found, page.found
        assert len(json.loads(report_json(findings))["labels"]) == len(labels)

    return [b"cup\nmug\nbowl\na/b.png\nx", "层\nÜ\n‮x\n\x1b[2J\n{{ 7*7 }}".encode()], run


def _site(folder: Path) -> tuple[list[bytes], Run]:
    """What a site is made of a bundle: its manifest for phones, and the list of its files in the service worker."""
    from tlc_edge.compiler.site.site import make_site
    from tlc_edge.runtime.bundle.manifest import from_json, to_json

    whole = Bundle.open(small_bundle(folder))

    def run(data: bytes) -> None:
        head, _, rest = data.partition(b"\0")
        bundle = replace(whole, manifest=from_json(head, "a manifest"))
        name = f"golden/{rest.decode('utf-8', 'replace')}{HOSTILE_NAMES[len(data) % len(HOSTILE_NAMES)]}"
        site = make_site(replace(bundle, files={**bundle.files, name: b"x"}), {})
        assert set(json.loads(site["app.webmanifest"])) >= {"name", "icons"}
        line = re.search(rb"^const FILES = (\{.*?^\});$", site["sw.js"], re.DOTALL | re.MULTILINE)
        assert line is not None
        listed: Mapping[str, Any] = json.loads(line[1])
        assert listed[f"bundle/{name}"]["hash"] == hashlib.sha256(b"x").hexdigest()

    return [to_json(whole.manifest), to_json(whole.manifest) + b"\0a.png"], run


TARGETS = (
    *FILES,
    Target("ONNX", _onnx, "onnxruntime"),
    Target("ONNX in a bundle", _model_in_a_bundle, "onnxruntime"),
    Target("address", _address),
    Target("words in a report", _report),
    Target("words in a site", _site),
)
