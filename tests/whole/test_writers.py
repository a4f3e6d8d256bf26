"""All that tlc writes: there is one way to do it, a full disk leaves nothing half-written, and no link is followed."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import resource
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gallery_samples import PRINT, WIDTH, source, vectors
from PIL import Image
from test_bundle import contents, write

from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.data.load import Origin, load_dataset
from tlc_edge.compiler.fine_tune.checkpoints import Checkpoints, State
from tlc_edge.runtime.errors import DataError, GalleryError, TlcError
from tlc_edge.runtime.files import file_sha256, is_own
from tlc_edge.runtime.gallery.compact import compact
from tlc_edge.runtime.gallery.contact_sheet import write_neighbours, write_sheet, write_thumbnails
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.recover import recover
from tlc_edge.runtime.gallery.transfer import export
from tlc_edge.runtime.watch.unit import write_unit

ROOT = Path(__file__).parents[2]
LIMIT = 100_000  # bytes of a file, as on a disk that has no more
KEYS = [f"k{i}" for i in range(60)]


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def picture(size: int = 64) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(size).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(noise).save(out, "JPEG", quality=95)
    return out.getvalue()


def gallery(folder: Path) -> Path:
    path = folder / "g.gallery"
    with Gallery.open(path, PRINT, WIDTH, create=True) as opened:
        opened.add("cup", vectors(*KEYS), [source(k, picture()) for k in KEYS])
    return path


def on_gallery(act: Callable[[Gallery, Path], object]) -> Callable[[Path, Path], object]:
    def run(given: Path, to: Path) -> None:
        with Gallery.open_any(given / "g.gallery") as opened:
            act(opened, to)

    return run


def _checkpoint(_given: Path, to: Path) -> None:
    values = [np.zeros(LIMIT)]
    Checkpoints(to.parent, "recipe").save(State(1, values, values, 1, values, [0.5]))


def _unpacked(given: Path, to: Path) -> None:
    with zipfile.ZipFile(given / "a.zip", "w") as archive:
        for label in "ab":
            archive.writestr(f"{label}/big.bmp", bytes(3 * LIMIT) if label == "b" else picture())
    with no_room():
        load_dataset(Origin(str(given / "a.zip"), cache=str(to.parent)))


def _embedded(given: Path, to: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": picture(400 if i else 40)} for i in range(4)]
    parquet.write_table(pa.table({"image": images, "label": ["a", "b", "a", "b"]}), given / "t.parquet")
    with no_room():
        load_dataset(Origin(str(given / "t.parquet"), cache=str(to.parent)))


def _big_sheet(opened: Gallery, to: Path) -> None:
    write_sheet(opened, to)


WRITERS: dict[str, Callable[[Path, Path], object]] = {
    "bundle.tlc": lambda _, to: write(to, contents(big=bytes(2 * LIMIT))),
    "bundle": lambda _, to: write(to, contents(big=bytes(2 * LIMIT))),
    "exported": on_gallery(export),
    "recovered": lambda given, to: recover(given / "g.gallery", to, PRINT, WIDTH),
    "sheet.html": on_gallery(_big_sheet),
    "near.html": lambda _, to: write_neighbours(to, bytes(2 * LIMIT), "a", []),
    "unit.service": lambda _, to: write_unit(to, "x" * 2 * LIMIT),
    "epoch-0001.npz": _checkpoint,
}
MADE = {"unpacked": _unpacked, "embedded": _embedded}
"""Data sets that are made in a folder; what is read before is written without a limit."""


def listed(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


@pytest.mark.parametrize("name", [*WRITERS, *MADE])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, name: str) -> None:
    given, to = tmp_path / "given", tmp_path / "to"
    given.mkdir()
    to.mkdir(0o700)
    gallery(given)
    before = listed(given)
    with pytest.raises(TlcError) as error, no_room() if name in WRITERS else contextlib.nullcontext():
        (WRITERS | MADE)[name](given, to / name)
    assert str(error.value).isprintable()
    left = [to / n for n in listed(to)]
    assert [p for p in left if name != "embedded" or file_sha256(p) != p.name] == []
    assert [n for n in listed(given) if n not in ("a.zip", "t.parquet")] == before
    with Gallery.open_any(given / "g.gallery") as opened:
        assert opened.check() == []


def test_a_full_disk_leaves_the_gallery_as_it_was(tmp_path: Path) -> None:
    path = gallery(tmp_path)
    with Gallery.open(path, PRINT, WIDTH) as opened:
        more = [f"m{i}" for i in range(60)]
        given = vectors(*more), [source(k, picture()) for k in more]
        with no_room(), pytest.raises(GalleryError):
            opened.add("mug", *given)
        with no_room(), contextlib.suppress(GalleryError):
            compact(opened)
        assert (opened.classes(), opened.check()) == ({"cup": 60}, [])
        assert opened.add("mug", *given).added == 60
    assert [n for n in listed(tmp_path) if not n.endswith(("-wal", "-shm"))] == ["g.gallery"]


@pytest.mark.parametrize("name", [n for n in WRITERS if n not in ("bundle", "exported", "recovered")])
def test_a_link_in_the_place_of_what_is_written_is_not_followed(tmp_path: Path, name: str) -> None:
    """Either the link gives way, or it is told."""
    gallery(tmp_path)
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "to").mkdir()
    link = tmp_path / "to" / name
    link.symlink_to(victim)
    with contextlib.suppress(TlcError):
        WRITERS[name](tmp_path, link)
    assert victim.read_bytes() == b"mine"
    assert os.lstat(victim).st_nlink == 1


def test_links_in_the_place_of_names_of_ours_are_not_followed(tmp_path: Path) -> None:
    path, victim = gallery(tmp_path), tmp_path / "victim"
    for suffix in ("-wal", "-shm", "-journal"):
        victim.write_bytes(b"mine")
        beside = tmp_path / f"new{suffix}"
        beside.symlink_to(victim)
        with pytest.raises(GalleryError, match=f"new{suffix}: a link, which no gallery has beside it"):
            Gallery.open(tmp_path / "new", PRINT, WIDTH, create=True)
        beside.unlink()
        assert victim.read_bytes() == b"mine"
        (tmp_path / "new").unlink(missing_ok=True)
    for suffix in ("", "-wal", "-shm", "-journal"):
        (tmp_path / f"out.part{suffix}").symlink_to(victim)
    with Gallery.open_any(path) as opened:
        export(opened, tmp_path / "out")
        write_thumbnails(opened, tmp_path / "pictures")
        first = next((tmp_path / "pictures").rglob("*.jpg"))
        first.unlink()
        first.symlink_to(victim)
        write_thumbnails(opened, tmp_path / "pictures")
    assert victim.read_bytes() == b"mine"
    assert not first.is_symlink()


def test_a_cache_that_is_anothers_is_not_believed_and_that_is_told(tmp_path: Path) -> None:
    good = tmp_path / "good"
    with FeatureCache(good) as cache:
        cache.put([(b"k" * 32, b"value")])
        assert (cache.problem, oct(cache.path.stat().st_mode & 0o777)) == (None, "0o600")

    def refused(path: Path, undo: Callable[[], object]) -> None:
        with FeatureCache(good) as cache:
            assert f"{path} is another user's, a link, or open for others" in str(cache.problem)
            assert cache.get(b"k" * 32) is None
        undo()
        with FeatureCache(good) as cache:
            assert (cache.problem, cache.get(b"k" * 32)) == (None, b"value")

    file = good / "features-1.sqlite"
    for path, usual in ((good, 0o700), (file, 0o600)):
        path.chmod(0o777)
        refused(path, lambda path=path, usual=usual: path.chmod(usual))
    if os.geteuid() == 0:
        for path in (good, file):
            os.chown(path, 12345, -1)
            refused(path, lambda path=path: os.chown(path, 0, -1))
    real = file.rename(tmp_path / "elsewhere")
    file.symlink_to(real)
    refused(file, lambda: (file.unlink(), real.rename(file)))


def test_archives_are_not_taken_from_a_folder_that_is_anothers(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a/1.jpg", "b/1.jpg"):
            archive.writestr(name, picture())
    data = Origin(str(tmp_path / "a.zip"), cache=str(tmp_path / "cache"))
    assert len(load_dataset(data).samples) == 2
    kept = tmp_path / "cache" / "archives"
    assert is_own(kept)
    kept.chmod(0o777)
    with pytest.raises(DataError, match="may be anyone's; choose another --cache, or off"):
        load_dataset(data)


WRITE_MODES = set("wa+")
SCRATCH_ONLY = {
    "compiler/data/forms/archive.py",
    "compiler/data/forms/elsewhere.py",
    "compiler/data/forms/remote.py",
    "compiler/shards/run.py",
}
"""Files that write in a folder of their own which goes where the work fails."""


def test_there_is_one_way_to_write_a_file() -> None:
    """Only files.py gives a file its name; elsewhere at most a file that was not there before (mode x) is made."""
    found: set[str] = set()
    for path in [p for room in ("cli", "compiler", "runtime", "targets") for p in (ROOT / room).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            modes = [a.value for a in (*node.args, *(k.value for k in node.keywords)) if isinstance(a, ast.Constant)]
            writes = name == "open" and any(isinstance(m, str) and len(m) < 4 and WRITE_MODES & set(m) for m in modes)
            nowhere = bool(node.args) and ast.unparse(node.args[0]) == "os.devnull"
            if (writes and not nowhere) or name in ("write_text", "write_bytes"):
                found.add(str(path.relative_to(ROOT)))
    assert found == SCRATCH_ONLY
