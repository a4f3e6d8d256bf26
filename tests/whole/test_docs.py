"""The documentation: generated parts are up to date, and every block is run or says why not.

A block is run in a *scene*, a folder with the files that its commands name, which all blocks of a page share: what
one makes, the next finds. `<!-- run: SCENE -->` above it names the scene; `, exactly` compares numbers too, `, loosely`
only the exit code and the first line.
"""

from __future__ import annotations

import ast
import functools
import http.server
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import click
import numpy as np
import pytest
from command_runs import COMMAND, apart
from conftest import ROOT, SHARED
from doc_blocks import Block, agrees, blocks, commands, expected_code
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from serving import running

from tlc_edge.cli.commands import cli

PAGES = [page for page in sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))) if page.is_file()]
BLOCKS = [block for page in PAGES for block in blocks(ROOT, page)]
ADDRESS = "127.0.0.1:8123"
"""What pages call the server of a scene, whose port is free by chance."""


def test_generated_parts_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, "tools/docs", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_block_is_run_or_says_why_not() -> None:
    assert [f"{b.page}:{b.line}" for b in BLOCKS if b.is_run is None] == []
    assert [f"{b.page}:{b.line}" for b in BLOCKS if b.is_run and b.scene not in (*SCENES, *OUTSIDE)] == []


def test_links_lead_to_pages_and_headings_that_exist() -> None:
    headings = {page: {_anchor(h) for h in re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)} for page in PAGES}
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
            if "://" in link:
                continue
            name, _, anchor = link.partition("#")
            to = (page.parent / name).resolve() if name else page
            assert to.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in headings[to], f"{page.name}: {link}"


def test_files_that_are_named_exist() -> None:
    named = re.compile(r"(?<![\w/.])((?:cli|compiler|runtime|targets|tests|tools|benchmarks|docs)/[\w./-]*\w)")
    for page in PAGES:
        if page.name == "CHANGELOG.md":
            continue
        for path in named.findall(page.read_text("utf-8").replace("tlc_edge/", "")):
            assert "NAME" in path or (ROOT / path).exists(), f"{page.name}: {path}"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_the_examples_of_the_help_can_be_read_by_their_commands() -> None:
    examples = [line for b in BLOCKS if b.page == "docs/cli.md" for line in b.text.splitlines()]
    assert len(examples) > 5
    for example in examples:
        words = example[example.index("tlc ") :].split()[1:]
        command: click.Command = cli
        while isinstance(command, click.Group):
            found = command.get_command(click.Context(command), words.pop(0))
            assert found is not None, example
            command = found
        command.make_parser(click.Context(command, **cli.context_settings)).parse_args(words)


def test_python_blocks_import_what_there_is() -> None:
    """Those that are not run could name what has moved."""
    for block in BLOCKS:
        if block.language == "python" and "tlc_edge" in block.text:
            tree = ast.parse(block.text)
            for node in tree.body:
                if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tlc_edge"):
                    module = importlib.import_module(node.module)
                    assert all(hasattr(module, alias.name) for alias in node.names), f"{block.page}:{block.line}"


# --- scenes


class Scene:
    """A folder with what a page's commands name. Files are made when they are first asked for."""

    def __init__(self, folder: Path, request: pytest.FixtureRequest) -> None:
        self.folder = folder
        self.request = request

    def mugs(self) -> None:
        """Four pictures of a thing that no bundle knows."""
        for i, name in enumerate(("a.png", "b.png", "c.png", "x.png")):
            image = Image.new("RGB", (320, 240), (226, 214, 190))
            pen, left, top = ImageDraw.Draw(image), 80 + 12 * i, 50 + 6 * i
            pen.ellipse([left + 80, top + 25, left + 160, top + 105], outline=(160, 30, 30), width=16)
            pen.rectangle([left, top, left + 120, top + 135], fill=(180, 40, 40))
            image.save(self.folder / name)

    def link(self, name: str, to: Path) -> None:
        """Give something of ../shared/data a name here."""
        if not to.exists():
            pytest.skip(f"{to.relative_to(SHARED.parents[1])} is not here; it is no part of the repository")
        (self.folder / name).symlink_to(to, target_is_directory=to.is_dir())


def small(scene: Scene) -> None:
    """The session's small bundle, of forty digits, under the names that pages use."""
    bundle: Path = scene.request.getfixturevalue("built_bundle")
    for name in ("photos.tlc", "digits.tlc"):
        shutil.copy(bundle, scene.folder / name)
    shutil.copytree(scene.request.getfixturevalue("photos"), scene.folder / "photos")
    shutil.copy(scene.folder / "photos" / "1" / "0.png", scene.folder / "rook.jpg")
    scene.mugs()


def nothing(_scene: Scene) -> None:
    """An empty folder."""


def photos(scene: Scene) -> None:
    """Photos of chess pieces, drawings of other things, a network of TensorFlow.js; no bundle."""
    for name in ("photos", "chess"):
        scene.link(name, SHARED / "chess")
    scene.link("icons", SHARED / "icons")
    scene.link("mobilenet_v1_025_224_tfjs", SHARED / "mobilenet_v1_025_224_tfjs")


def chess(scene: Scene) -> None:
    """The same with a bundle of the chess pieces, and photos and drawings to ask it about."""
    photos(scene)
    bundle: Path = scene.request.getfixturevalue("chess_bundle")
    for name in ("photos.tlc", "chess.tlc"):
        shutil.copy(bundle, scene.folder / name)
    for piece in ("rook", "knight"):
        shutil.copy(min((SHARED / "chess" / piece).iterdir()), scene.folder / f"{piece}.jpg")
    for room, thing in (("hall", "key"), ("kitchen", "bell")):
        (scene.folder / room).mkdir()
        for drawing in (SHARED / "icons" / thing).iterdir():
            shutil.copy(drawing, scene.folder / room / f"{thing}-{drawing.name}")
    scene.mugs()


def copies(scene: Scene) -> None:
    """Photos of which two are there twice, one of them in a wrong class, and one file that cannot be read."""
    scene.link("chess", SHARED / "chess")
    folder = shutil.copytree(SHARED / "chess", scene.folder / "photos")
    first = min((folder / "king").iterdir())
    shutil.copy(first.rename(folder / "king" / "46.jpg"), folder / "queen" / "misplaced.jpg")
    another = min((folder / "bishop").iterdir())
    with Image.open(another) as image:
        image.reduce(2).save(another.with_name("smaller.jpg"), quality=60)
    (folder / "rook" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")


def tables(scene: Scene) -> None:
    """A table of pixels with column numbers for a header, and one of labels."""
    digits: dict[str, list[NDArray[np.uint8]]] = scene.request.getfixturevalue("digits")
    rows = [
        (label, image)
        for of_class in zip(*digits.values(), strict=True)
        for label, image in zip(digits, of_class, strict=True)
    ]
    with (scene.folder / "images.csv").open("w") as images, (scene.folder / "labels.csv").open("w") as labels:
        images.write(",".join(map(str, range(784))) + "\n")
        labels.write("label\n")
        for label, image in rows:
            images.write(",".join(map(str, image.ravel())) + "\n")
            labels.write(f"{label}\n")


def address(scene: Scene) -> None:
    """A bundle, and an archive of photos that a server on this machine gives."""
    chess(scene)
    with zipfile.ZipFile(scene.folder / "chess.zip", "w") as archive:
        for path in sorted((SHARED / "chess").rglob("*.jpg")):
            archive.write(path, path.relative_to(SHARED / "chess"))


def splits(scene: Scene) -> None:
    """The small bundle, and digits in folders of a split, good and not."""
    small(scene)
    for label in "0123":
        for split in ("train", "test"):
            shutil.copytree(scene.folder / "photos" / label, scene.folder / "pieces" / split / label)
    entries = [
        {"path": f"{label}/{i}.png", "category": "training", "label": {"type": "label", "label": label}}
        for label in "0123"
        for i in range(10)
    ]
    shutil.copytree(scene.folder / "photos", scene.folder / "exported")
    (scene.folder / "exported" / "info.labels").write_text(json.dumps({"version": 1, "files": entries}))
    shutil.make_archive(str(scene.folder / "exported"), "zip", scene.folder, "exported")
    for name in ("pieces/plots", "vehicles/train", "vehicles/bus", "vehicles/car"):
        shutil.copytree(scene.folder / "photos" / "0", scene.folder / name)


def serving(scene: Scene) -> None:
    """The same, and `tlc serve photos.tlc` at http://127.0.0.1:8000, as far as curl sees."""
    small(scene)
    stack = ExitStack()
    scene.request.addfinalizer(stack.close)
    server = stack.enter_context(running(scene.folder / "photos.tlc", state=scene.folder / "state"))
    port = server.url.rstrip("/").rpartition(":")[2]
    (scene.folder / ".curlrc").write_text(f'silent\nconnect-to = "127.0.0.1:8000:127.0.0.1:{port}"\n')


SCENES: dict[str, Callable[[Scene], None]] = {
    f.__name__: f for f in (small, nothing, photos, chess, copies, tables, address, splits, serving)
}
FAST = ("small", "splits", "serving")
OUTSIDE = (".ci/run",)
"""What runs blocks too, elsewhere."""


@pytest.fixture(scope="session")
def chess_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the README: photos of chess pieces for `rpi`."""
    folder = tmp_path_factory.mktemp("chess")
    path = folder / "photos.tlc"
    done = apart("build", "--target", "rpi", "--data", SHARED / "chess", "-o", path, "--cache", "off", cwd=folder)
    assert done.code == 0, done.err
    return path


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """A server of the folder on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _runs() -> list[object]:
    ours = [b for b in BLOCKS if b.is_run and b.scene in SCENES]
    keyed = groupby(sorted(ours, key=lambda b: (b.page, b.scene)), key=lambda b: (b.page, b.scene))
    return [
        pytest.param(list(found), id=f"{page}, {scene}", marks=[] if scene in FAST else [pytest.mark.slow])
        for (page, scene), found in keyed
    ]


@pytest.mark.parametrize("found", _runs())
def test_blocks_do_what_their_page_shows(
    found: list[Block], tmp_path: Path, served: str, request: pytest.FixtureRequest
) -> None:
    SCENES[found[0].scene](Scene(tmp_path, request))
    wrong: list[str] = []
    for block in found:
        if block.language == "python":
            done = _run([sys.executable, "-W", "error::SyntaxWarning", "-c", block.text], tmp_path)
            if done.returncode:
                wrong.append(f"{block.page}:{block.line}: {done.stdout}")
            continue
        for line, shown in commands(block.text.replace(ADDRESS, served)):
            done = _run(["bash", "-c", f'tlc() {{ {" ".join(COMMAND)} "$@"; }}\n{line}'], tmp_path)
            printed = done.stdout.replace(str(tmp_path), "/home/me").splitlines()
            missing = agrees(*_compared(block, shown, printed), exact=block.is_exact)
            if done.returncode not in expected_code(shown) or (shown and missing):
                wrong.append(f"{block.page}:{block.line}: $ {line}\n{done.returncode}: {missing}\n{done.stdout}")
    assert not wrong, "\n\n".join(wrong)


def _compared(block: Block, shown: list[str], printed: list[str]) -> tuple[list[str], list[str]]:
    return (["…", shown[0], "…"], printed) if block.is_loose and shown else (shown, printed)


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    own = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / ".cache"), "TLC_CACHE": ""}
    own |= {"XDG_CONFIG_HOME": str(folder / ".config"), "TLC_TRUST": ""}
    out = subprocess.PIPE
    return subprocess.run(
        command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, text=True, env={**os.environ, **own}, check=False
    )


# --- the comparison itself


@pytest.mark.parametrize(
    ("shown", "printed", "says"),
    [
        (["a 1.25  b"], ["a 3  b"], None),
        (["a 1.25  b"], ["a x  b"], "a 1.25 b"),
        (["0.641 0.53-0.74  *"], ["0.667 0.56-0.76  *"], None),
        (["at 0.53-0.74"], ["at 0.53"], "at 0.53-0.74"),
        (["one", "…", "two"], ["one", "x", "y", "two"], None),
        (["one", "…"], ["one", "x"], None),
        (["one"], ["one", "x"], "(nothing more, but there came: x)"),
        (["one", "two"], ["one"], "two"),
        (["  lower  1.2 s  2/2", "done"], ["done"], None),
        (["4.0 MB of it"], ["580 kB of it"], None),
        (["only the start …"], ["only the start and more"], None),
        (["rook.jpg: rook 1.00"], ["king.jpg: rook 1.00"], "rook.jpg: rook 1.00"),
        (["at 2026-11-24T08:20:06+00:00"], ["at 2027-01-01T00:00:00+00:00"], None),
    ],
)
def test_a_block_agrees_by_shape(shown: list[str], printed: list[str], says: str | None) -> None:
    missing = agrees(shown, printed)
    assert missing is None if says is None else missing is not None and " ".join(missing.split()) == says


def test_numbers_count_where_they_must() -> None:
    assert agrees(["5 examples"], ["6 examples"], exact=True) == "5 examples"
    assert agrees(["5 examples"], ["5 examples"], exact=True) is None


def test_a_block_without_a_mark_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- run: small -->\n```console\n$ tlc\n```\n\n```console\n$ tlc\n```\n<!-- not run: why -->\n```\nx\n```\n"
    )
    assert [b.is_run for b in blocks(tmp_path, page)] == [True, None, False]
    assert json.dumps([b.line for b in blocks(tmp_path, page)]) == "[2, 6, 10]"
