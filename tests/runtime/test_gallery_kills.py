"""SIGKILL at random events of import, merge, migration, compaction and limits: whole before, or whole after."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from gallery_samples import PRINT, WIDTH, add, held, source, vectors
from killed import Killed, moments
from PIL import Image

from tlc_edge.runtime import Bundle
from tlc_edge.runtime.gallery import migrate as module
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.migrate import migrate
from tlc_edge.runtime.gallery.transfer import stored
from tlc_edge.runtime.images.load import load_image

KILLS = [8, pytest.param(200, marks=pytest.mark.slow)]
FEW = [3, pytest.param(200, marks=pytest.mark.slow)]

TAKE_IN = """
import sys
from gallery_samples import PRINT, WIDTH
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.transfer import stored, take_in
with Gallery.open(sys.argv[1], PRINT, WIDTH) as mine, Gallery.open(sys.argv[2], PRINT, WIDTH, read_only=True) as theirs:
    print("ready", flush=True)
    while True:
        take_in(mine, stored(theirs), "import", "theirs", "last")
        print("taken in", flush=True)
        mine.undo()
        print("undone", flush=True)
"""

MERGE = """
import itertools, sys
from pathlib import Path
from gallery_samples import PRINT, WIDTH
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.transfer import new_file, stored, take_in
print("ready", flush=True)
for number in itertools.count():
    with new_file(Path(sys.argv[1]) / f"out{number}", PRINT, WIDTH) as new:
        for name in ("mine", "theirs"):
            with Gallery.open(Path(sys.argv[1]) / name, PRINT, WIDTH, read_only=True) as other:
                take_in(new, stored(other), "merge", name)
    print(number, flush=True)
"""

COMPACT = """
import sys
from gallery_samples import PRINT, WIDTH, add
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.compact import compact
with Gallery.open(sys.argv[1], PRINT, WIDTH) as gallery:
    print("ready", flush=True)
    while True:
        add(gallery, "more", *(f"m{i}" for i in range(30)))
        gallery.forget("more")
        compact(gallery)
        print("compacted", flush=True)
"""

LIMIT = """
import sys
from gallery_samples import PRINT, WIDTH
from tlc_edge.runtime.gallery.gallery import Gallery; from tlc_edge.runtime.gallery.limits import Limits
with Gallery.open(sys.argv[1], PRINT, WIDTH) as gallery:
    print("ready", flush=True)
    while True:
        gallery.limit(Limits(5, 0))
        print("limited", flush=True)
        gallery.undo()
        print("undone", flush=True)
"""

MIGRATE = """
import sys
from dataclasses import replace
from pathlib import Path
from tlc_edge.runtime import Bundle
from tlc_edge.runtime.gallery.migrate import migrate
bundle = Bundle.open(sys.argv[1])
migrate(
    replace(bundle, manifest=replace(bundle.manifest, fingerprint=sys.argv[3])),
    Path(sys.argv[2]),
    progress=lambda done, total: print("a portion", flush=True),
)
print("migrated", flush=True)
"""


def opened(path: Path) -> Gallery:
    return Gallery.open(path, PRINT, WIDTH)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two closed galleries that share images, some under other labels."""
    paths = tmp_path / "mine", tmp_path / "theirs"
    for path, labels in zip(paths, ("abc", "bcd"), strict=True):
        with Gallery.open(path, PRINT, WIDTH, create=True) as gallery:
            for i in range(60):
                key = f"{i + 20 * (labels == 'bcd')}"
                gallery.add(labels[i % 3], vectors(key), [source(key, b"jpeg" * 400)])
    return paths


def counted(path: Path) -> int:
    with opened(path) as gallery:
        return len(held(gallery))


@pytest.mark.parametrize("kills", KILLS)
def test_killed_while_importing(two: tuple[Path, Path], kills: int, killed: Killed) -> None:
    mine, theirs = two
    with opened(mine) as gallery:
        before = sorted(held(gallery))
    after, seen = None, set[int]()
    events = killed.events(TAKE_IN, mine, theirs, lines=4)
    assert counted(mine) == len(before)
    for at in moments(random.Random(kills), kills, events):
        killed(TAKE_IN, mine, theirs, at=at)
        with opened(mine) as gallery:
            assert gallery.check() == []
            now = sorted(held(gallery))
            seen.add(len(now))
            if now != before:
                assert after in (None, now)
                after = now
                gallery.undo()
                assert sorted(held(gallery)) == before
    assert seen == {len(before), 80}  # of two rounds so many moments: some fall before, some after


@pytest.mark.parametrize("kills", KILLS)
def test_killed_while_merging_there_is_a_whole_file_or_none(
    two: tuple[Path, Path], kills: int, killed: Killed, tmp_path: Path
) -> None:
    raw, made, unmade = [path.read_bytes() for path in two], 0, 0
    events = killed.events(MERGE, tmp_path, lines=2)
    for out in tmp_path.glob("out*"):
        out.unlink()
    for at in moments(random.Random(kills), kills, events):
        said = killed(MERGE, tmp_path, at=at)
        outs = [p for p in tmp_path.iterdir() if p.name.startswith("out") and p.name.removeprefix("out").isdigit()]
        assert {f"out{n}" for n in said[1:]} <= {p.name for p in outs}
        for out in outs:
            with opened(out) as gallery:
                assert gallery.check() == []
                assert len(gallery.load().ids) == 80
            made += 1
            out.unlink()
        unmade += not outs
    assert [path.read_bytes() for path in two] == raw
    assert made
    assert unmade


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.parametrize("script", [COMPACT, LIMIT], ids=["compact", "limit"])
def test_killed_while_compacting_or_limiting(two: tuple[Path, Path], kills: int, killed: Killed, script: str) -> None:
    path = two[0]
    with opened(path) as gallery:
        gallery.limit(Limits(0, 0))
        before = [e._replace(id=0) for e in stored(gallery)]
    lengths = set[int]()
    events = killed.events(script, path, lines=4)
    for at in moments(random.Random(kills), kills, events):
        killed(script, path, at=at)
        with opened(path) as gallery:
            assert gallery.check() == []
            now = [e._replace(id=0) for e in stored(gallery) if e.label != "more"]
            lengths.add(len(now))
            if script == LIMIT and len(now) == 15:
                gallery.undo()
                now = [e._replace(id=0) for e in stored(gallery)]
            assert now == before
            if gallery.classes().get("more"):
                gallery.forget("more")
    assert lengths == ({15, 60} if script == LIMIT else {60})


@pytest.fixture
def photographed(bundle: Bundle, photos: Path, tmp_path: Path) -> Path:
    """A gallery of 40 real thumbnails, of another model than the bundle's."""
    path = tmp_path / "device.gallery"
    spec, width = bundle.manifest.preprocessing, bundle.manifest.embedding_width
    with Gallery.open(path, PRINT, width, create=True) as gallery:
        for i, file in enumerate(sorted(photos.rglob("*.png"))):
            out = BytesIO()
            Image.fromarray(load_image(file, spec)).save(out, "JPEG")
            gallery.add(f"c{i % 3}", vectors(str(i), width=width), [source(str(i), out.getvalue())])
    return path


@pytest.mark.parametrize("kills", FEW)
def test_killed_while_migrating_it_goes_on_and_nothing_is_lost(
    photographed: Path, bundle: Bundle, built_bundle: Path, kills: int, killed: Killed
) -> None:
    path = photographed
    width = bundle.manifest.embedding_width
    before, raw = held(Gallery.open(path, PRINT, width, read_only=True)), path.read_bytes()
    now, number, done = PRINT, 0, 0
    undisturbed = path.with_name("undisturbed")
    undisturbed.write_bytes(raw)
    events = killed.events(MIGRATE, built_bundle, undisturbed, "f" * 64)
    for at in moments(random.Random(kills), 3 * kills, events):
        if done == kills:
            break
        then = f"{number:064x}"
        # One that goes on where another was killed has less to do, and may be done before its moment; the next is not.
        run = killed.run(MIGRATE, (built_bundle, path, then), line=0, at=at)
        assert run.code in (0, -signal.SIGKILL)
        done += run.code != 0
        with Gallery.open_any(path) as gallery:
            assert gallery.check() == []
            assert held(gallery) == before
            assert gallery.fingerprint in (now, then)
            if gallery.fingerprint == then:
                now, number = then, number + 1
            else:
                assert "migrated" not in run.said
        for growing in path.parent.glob(f"{path.name}.{then[:12]}.migrating"):
            with Gallery.open(growing, then, width) as gallery:
                assert gallery.check() == []
    assert done == kills
    # Whatever happened, it can be finished.
    final = replace(bundle, manifest=replace(bundle.manifest, fingerprint="e" * 64))
    assert migrate(final, path).moved == len(before) == 40
    assert raw in [p.read_bytes() for p in path.parent.glob(f"{path.name}.{PRINT[:12]}*")]


@pytest.mark.parametrize("instant", ["kept", "placed"])
def test_killed_between_keeping_the_old_file_and_placing_the_new(
    photographed: Path, bundle: Bundle, instant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, width = photographed, bundle.manifest.embedding_width
    before = held(Gallery.open(path, PRINT, width, read_only=True))
    place: Callable[[Path, Path], None] = module.put_in_place

    def die(part: Path, to: Path) -> None:
        if instant == "placed":
            place(part, to)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "put_in_place", die)
    with pytest.raises(KeyboardInterrupt):
        migrate(bundle, path)
    monkeypatch.undo()
    if instant == "kept":
        assert migrate(bundle, path).kept.name == f"{path.name}.{PRINT[:12]}"
    with Gallery.open(path, bundle.manifest.fingerprint, width) as gallery:
        assert held(gallery) == before


def test_two_processes_take_in_at_once(two: tuple[Path, Path], tmp_path: Path) -> None:
    script = TAKE_IN.replace("while True:", "for _ in range(5):").replace("mine.undo()", "pass")
    mine, theirs = two
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    children = [subprocess.Popen([sys.executable, "-c", script, mine, theirs], env=env) for _ in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    with opened(mine) as gallery:
        assert gallery.check() == []
        assert len(gallery.load().ids) == 80
    assert add(opened(mine), "new", "x").added == 1
