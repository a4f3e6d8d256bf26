"""Texts from strangers' files on the terminal: whatever a bundle, a gallery or a data set says, nothing acts there."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import sqlite3
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runs import Done, here
from hypothesis import given
from hypothesis import strategies as st
from test_json_shapes import leaves
from test_label import typed

from tlc_edge.cli import output
from tlc_edge.cli.commands import cli
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.runtime import Bundle, Gallery
from tlc_edge.runtime.bundle.bundle import DIGEST, MANIFEST, write_bundle
from tlc_edge.runtime.errors import LONGEST, BundleError, DataError, GalleryError, TlcError, UsageError
from tlc_edge.runtime.gallery.records import ExampleSource
from tlc_edge.runtime.labels import MAX_LABEL, clean_label

Tlc = Callable[..., Done]
SKETCH = Path(__file__).parents[1] / "data" / "tfjs_sketch"
CLI = Path(__file__).parents[2] / "cli"
EVIL = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31mred",
    "one\r\x1b[Kanother\nError: forged line",
    "invoice\u202egpj.exe\u2066\u2069\u200f",
    "\x9b31m\x85\x7f\u2028\u2029\ufeff\u00ad\U000e0041",
    "x" * 10_000,
)
JOINED = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \U0001f469\u200d\U0001f680 na\u00efve 猫"


@pytest.fixture
def tlc(capfd: pytest.CaptureFixture[str]) -> Tlc:
    return lambda *args: here(capfd, *args)


def acts(text: str) -> list[str]:
    """Return what a terminal would act on, or not show, in a text of several lines."""
    kinds = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return [c for c in text if c not in "\n\u200c\u200d" and unicodedata.category(c) in kinds]


def hold(done: Done) -> Done:
    """Check what a command printed; of the words for a person no line goes on for ever."""
    assert acts(done.out) == []
    assert acts(done.err) == []
    assert "Traceback" not in done.out + done.err
    assert not any(line.startswith("Error: forged") for line in (done.out + done.err).splitlines())
    assert max((len(line) for line in done.err.splitlines()), default=0) <= LONGEST
    return done


def hostile(bundle: Bundle, path: Path, text: str) -> Path:
    """Write a bundle in which all that only people read is a stranger's text."""
    manifest = bundle.manifest

    def told(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: told(v) for k, v in value.items()}
        return [told(v) for v in value] if isinstance(value, list) else text if isinstance(value, str) else value

    parts = {k: told(dict(getattr(manifest, k))) for k in ("target", "backbone", "shave", "neck", "head", "versions")}
    parts["target"] = {**parts["target"], "notes": [text]}
    metrics = {**manifest.metrics, "unknown": {**dict(manifest.metrics["unknown"]), "foreign": text}}
    files = {name: data for name, data in bundle.files.items() if name not in (MANIFEST, DIGEST)}
    write_bundle(path, replace(manifest, **parts, metrics=metrics, created=text, scheme=text), files)
    return path


def taught(bundle: Bundle, path: Path, text: str) -> Path:
    """Write a gallery of the bundle whose examples come from files with a stranger's name."""
    width = bundle.manifest.embedding_width
    name = text.replace("\0", "")[:3000]
    with Gallery.open(path, bundle.manifest.fingerprint, width, create=True) as gallery:
        vectors = np.eye(2, width, dtype=np.float32)
        gallery.add("cup", vectors, [ExampleSource(f"{i:064x}", name, None) for i in range(2)])
    return path


def named_by_strangers(folder: Path, text: str) -> Path:
    """Write a network whose layers have a stranger's names."""
    copied = folder / "net"
    copied.mkdir()
    for file in SKETCH.iterdir():
        data = file.read_bytes()
        if file.name == "model.json":
            document = json.loads(data)
            layers = document["modelTopology"]["config"]["layers"]
            layers[-1]["config"]["name"] = text
            data = json.dumps(document).encode()
        (copied / file.name).write_bytes(data)
    return copied


SLOW = ("sweep", "layers", "doctor", "bench", "selftest", "watch", "sign", "service")
"""With one text; the others go the same ways."""
FOLDERS = ("gallery", "service", "token", "features")
NOTHING_STRANGE = {"backbones", "targets", "info", "clear", "completion", "keygen", "trust", "build", "label"}
"""Commands that print nothing but what is tlc's own or typed; of a build and of label there are tests below."""


@pytest.mark.parametrize("text", EVIL, ids=["escapes", "lines", "turned", "rare", "long"])
def test_a_bundle_and_a_gallery_full_of_texts_that_act(
    tlc: Tlc, bundle: Bundle, photos: Path, tmp_path: Path, text: str
) -> None:
    path = hostile(bundle, tmp_path / "h.tlc", text)
    other = taught(bundle, tmp_path / "other", text)
    taught(bundle, Path(f"{path}.gallery"), text)
    image = photos / "0" / "0.png"
    odd = tmp_path / f"{text.replace('/', '')[:200]}.png"
    odd.write_bytes(image.read_bytes())
    net = named_by_strangers(tmp_path, text)
    commands: list[list[object]] = [
        ["inspect", path],
        ["predict", path, image],
        ["selftest", path],
        ["bench", path, image, "--runs", 1],
        ["gallery", "list", path],
        ["gallery", "list", path, "cup"],
        ["gallery", "show", path, image],
        ["gallery", "check", path],
        ["gallery", "import", path, other, "--conflicts", "last"],
        ["gallery", "export", path, tmp_path / "exported"],
        ["gallery", "limit", path, "--per-class", 1],
        ["undo", path],
        ["doctor", path],
        ["enroll", path, "jar", odd],
        ["gallery", "merge", path, other, "-o", tmp_path / "merged"],
        ["gallery", "migrate", path, "--gallery", other],
        ["gallery", "move", path, 1, "jug"],
        ["gallery", "remove", path, 1],
        ["gallery", "compact", path],
        ["inspect", path, "--report"],
        ["service", "install", path, "--to", "-", "--", "--camera", tmp_path],
        ["watch", path, "--camera", tmp_path / "none"],
        ["layers", net],
        ["sweep", "--target", "rpi", "--data", tmp_path / "data", "--backbone", net],
        ["sign", path, "--key", tmp_path / "none.key"],
        ["site", path, "--vendor", tmp_path / "none", "-o", tmp_path / "site"],
        ["inspect", path, "--sbom"],
        ["gallery", "rename", path, "cup", "mug"],
        ["gallery", "recover", path, tmp_path / "recovered"],
        ["verify", path, "--data", photos, "--limit", 8],
        ["forget", path, "mug"],
        ["gallery", "list", tmp_path / text.replace("/", "")[:200]],
        ["forget", path, text],
        ["serve", odd, "--port", 0],
        ["token", "revoke", text.replace("\0", ""), "--state", tmp_path / "state"],
        [
            "token",
            "add",
            "--name",
            text.replace("\0", ""),
            "--address",
            "http://127.0.0.1/",
            "--state",
            tmp_path / "state",
        ],
        ["features", "plan", tmp_path / "store", "--data", odd],
        ["features", "run", odd],
        ["features", "status", odd],
    ]
    tried = {words[1] if words[0] in FOLDERS else words[0] for words in commands}
    assert {name.rpartition("-")[2] for name in leaves(cli)} - tried == NOTHING_STRANGE
    good = 0
    if text != EVIL[0]:
        commands = [words for words in commands if words[0] not in SLOW]
    for words in commands:
        good += hold(tlc(*words)).code == 0
        if words[0] not in ("gallery", "service") or words[1] in ("list", "show", "check"):
            done = hold(tlc(*words, "--json"))
            json.loads(done.out)
    assert good >= (18 if text == EVIL[0] else 14)


@pytest.mark.parametrize("text", EVIL[:-1], ids=["escapes", "lines", "turned", "rare"])
def test_a_data_set_whose_names_act(tlc: Tlc, bundle_path: Path, photos: Path, tmp_path: Path, text: str) -> None:
    for label in "01":
        (tmp_path / "d" / label).mkdir(parents=True)
        for i in range(3):
            data = (photos / label / f"{i}.png").read_bytes()
            (tmp_path / "d" / label / f"{text.replace('/', '')}{i}.png").write_bytes(data)
    (tmp_path / "d" / "0" / f"{text.replace('/', '')}bad.png").write_bytes(b"no image")
    done = hold(tlc("verify", bundle_path, "--data", tmp_path / "d"))
    assert (done.code, "skipped" in done.err) == (0, True)
    (tmp_path / "d" / text.replace("/", "")).mkdir()
    (tmp_path / "d" / text.replace("/", "") / "0.png").write_bytes((photos / "2" / "0.png").read_bytes())
    assert "cannot be a label" in hold(tlc("build", "--target", "rpi", "--data", tmp_path / "d")).failed()


def test_sorting_by_hand_what_has_odd_names(bundle_path: Path, photos: Path, tmp_path: Path) -> None:
    for i, text in enumerate(EVIL[:-1]):
        (tmp_path / "in").mkdir(exist_ok=True)
        name = f"{text.replace('/', '')[:100]}{i}.png"
        (tmp_path / "in" / name).write_bytes((photos / "0" / f"{i}.png").read_bytes())
    done = hold(typed(["s", "=1", "s", "q"], bundle_path, tmp_path / "in"))
    assert (done.code, done.out.partition(": ")[2]) == (0, "1 sorted (1 1), 2 skipped, 1 left\n")
    assert done.err.count(" of 4)") == 4  # each was named


def test_one_rule_for_labels_wherever_they_come_from(tlc: Tlc, bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    files = {name: data for name, data in bundle.files.items() if name not in (MANIFEST, DIGEST)}
    for text in (*EVIL, "", " "):
        with pytest.raises(UsageError):
            clean_label(text)
        labels = (text, *bundle.manifest.labels[1:])
        there = {**files, "labels.txt": "".join(f"{label}\n" for label in labels).encode()}
        digests = {**bundle.manifest.files, "labels.txt": hashlib.sha256(there["labels.txt"]).hexdigest()}
        write_bundle(tmp_path / "l.tlc", replace(bundle.manifest, labels=labels, files=digests), there, force=True)
        with pytest.raises(BundleError, match=r"manifest.json has the label .* cannot name a class"):
            Bundle.open(tmp_path / "l.tlc")
        rows = "".join(f'{photos / label / "0.png"},"{text if label == "0" else label}"\n' for label in "01")
        (tmp_path / "l.csv").write_text(f"path,label\n{rows}", "utf-8")
        with pytest.raises(DataError):
            load_dataset(str(tmp_path / "l.csv"))
        path = taught(bundle, tmp_path / f"g{len(text)}{hash(text)}", "name")
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE examples SET label = ? WHERE id = 1", (text,))
            db.commit()
        with Gallery.open_any(path) as gallery:
            for act in (gallery.load, gallery.classes, gallery.examples):
                with pytest.raises(GalleryError, match="cannot name a class"):
                    act()
            assert gallery.check() == ["example 1 has a label that cannot name a class"]
        hold(tlc("gallery", "import", tmp_path / "none.tlc", path))
    assert clean_label(JOINED) == JOINED
    assert len(clean_label("x" * MAX_LABEL)) == MAX_LABEL


@given(st.text(max_size=400))
def test_whatever_is_printed(text: str) -> None:
    clean = ["".join(output.table([[text, 1]], ("a", "b"))), str(TlcError(text))]
    assert [acts(line) for line in clean] == [[], []]
    assert "\n" not in "".join(clean)
    document = output._json({"a": [text], text: 1}, 1)
    assert acts(document) == []
    assert json.loads(document) == {"a": [text], text: 1}


def test_what_has_a_look_is_printed_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    output.put(JOINED, "")
    output.say(JOINED)
    output.put_json_line({"a": JOINED})
    assert capfd.readouterr() == (f'{JOINED}\n\n{{"a": "{JOINED}"}}\n', f"{JOINED}\n")


def test_commands_print_in_one_way_only() -> None:
    found: list[str] = []
    for path in sorted(CLI.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            # A script for the shell is tlc's own, to the byte.
            if name in ("print", "click.echo", "click.secho") and path.name not in ("output.py", "completion.py"):
                found.append(f"{path.relative_to(CLI)}:{node.lineno}: {name}")
    assert found == []
