"""Where a gallery lies: shares and what they lack, copies of the file in use, and who may read it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gallery_samples import PRINT, WIDTH, add, held

from tlc_edge.runtime import Bundle, Classifier
from tlc_edge.runtime.errors import GalleryError
from tlc_edge.runtime.gallery import disk, file
from tlc_edge.runtime.gallery import session as session_module
from tlc_edge.runtime.gallery.contact_sheet import write_sheet, write_thumbnails
from tlc_edge.runtime.gallery.disk import Disk, disk_of, has_locks
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.transfer import export

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
30 22 0:40 / {0}/nas rw - nfs4 nas:/photos rw,vers=4.2
31 30 0:41 / {0}/nas/card rw shared:3 - vfat /dev/mmcblk1 rw
32 22 0:42 / {0}/my\\040share rw - cifs //nas/my\\040share rw
33 22 0:43 / {0}/ssh rw - fuse.sshfs pi@host:/ rw
34 22 0:44 / {0}/twice rw - ext4 /dev/sda rw
35 34 0:45 / {0}/twice rw - 9p drvfs rw
damaged line
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "g"


@pytest.fixture
def on_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "disk_of", lambda path: Disk("nfs4", "nas:/photos", "/mnt"))


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Refuse every lock from now on: SQLite says that the file is busy, as it does then."""

    def refuse() -> None:
        def refused(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("fcntl.lockf", refused)

        def busy(db: sqlite3.Connection, log: bool) -> None:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error

        usual = file._connect

        def connect(path: Path, mode: str, read_only: bool, log: bool) -> sqlite3.Connection:
            with monkeypatch.context() as patched:
                if "immutable" not in mode:
                    patched.setattr(file, "_begin", busy)
                return usual(path, mode, read_only, log)

        monkeypatch.setattr(file, "_connect", connect)

    return refuse


# What lies under a path


@pytest.mark.parametrize(
    ("folder", "kind", "local"),
    [
        ("here", "ext4", True),
        ("nas/photos", "nfs4", False),
        ("nas/card", "vfat", True),
        ("nas/cardinal", "nfs4", False),
        ("my share/x", "cifs", False),
        ("ssh", "fuse.sshfs", False),
        ("twice", "9p", False),
    ],
)
def test_the_innermost_and_latest_mount_counts(
    folder: str, kind: str, local: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "mounts").write_text(MOUNTS.format(tmp_path), "ascii")
    monkeypatch.setattr(disk, "_MOUNTS", tmp_path / "mounts")
    found = disk_of(tmp_path / folder / "g")
    assert (found.kind, found.local) == (kind, local)
    (tmp_path / "link").symlink_to(tmp_path / folder)
    assert disk_of(tmp_path / "link" / "g") == found


def test_where_the_system_does_not_tell_nothing_is_taken_for_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_MOUNTS", tmp_path / "none")
    assert not disk_of(tmp_path / "g").local


def test_locks_are_tried_on_a_file_that_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_locks(tmp_path)
    monkeypatch.setattr("fcntl.lockf", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "none")))
    assert not has_locks(tmp_path)
    monkeypatch.setattr("fcntl.lockf", lambda *_: (_ for _ in ()).throw(OSError(errno.EAGAIN, "held")))
    assert has_locks(tmp_path)
    assert list(tmp_path.iterdir()) == []


# On a share


def journal(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return str(db.execute("PRAGMA journal_mode").fetchone()[0])


@pytest.mark.usefixtures("on_a_share")
def test_a_share_gets_no_log(path: Path) -> None:
    with Gallery.open(path, PRINT, WIDTH, create=True) as gallery:
        add(gallery, "cup", "a")
        assert [p.name for p in path.parent.iterdir()] == ["g"]
        assert gallery._session.db.execute("PRAGMA synchronous").fetchone() == (3,)
    assert journal(path) == "delete"


def test_a_gallery_with_a_log_that_comes_to_a_share_loses_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gallery.open(path, PRINT, WIDTH, create=True) as gallery:
        add(gallery, "cup", "a")
        assert journal(path) == "wal"
    monkeypatch.setattr(file, "disk_of", lambda path: Disk("cifs", "//nas/x", "/mnt"))
    with Gallery.open(path, PRINT, WIDTH, read_only=True) as gallery:
        assert held(gallery) == [("cup", "a")]
    assert journal(path) == "delete"


@pytest.mark.usefixtures("on_a_share")
def test_two_devices_in_turns_see_each_other(path: Path) -> None:
    with Gallery.open(path, PRINT, WIDTH, create=True) as one, Gallery.open(path, PRINT, WIDTH) as other:
        for i in range(6):
            add((one, other)[i % 2], f"c{i}", f"{i}")
        assert one.classes() == other.classes() == {f"c{i}": 1 for i in range(6)}
        before = other.data_version()
        one.forget("c0")
        assert other.data_version() != before
        other.undo()
        assert len(one.load().ids) == 6
        assert one.check() == []


@pytest.mark.usefixtures("on_a_share")
def test_what_is_old_in_memory_is_not_written_upon(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another device writes between the opening of the file and the lock."""
    with Gallery.open(path, PRINT, WIDTH, create=True) as one, Gallery.open(path, PRINT, WIDTH) as other:
        add(one, "cup", "a")
        states = iter([(0, 0), (99, 99)])  # what it had, what the file has; then the truth
        usual = session_module._state
        asked: list[int] = []

        def state(db: sqlite3.Connection) -> tuple[int, ...]:
            asked.append(1)
            return next(states, None) or usual(db)

        monkeypatch.setattr(session_module, "_state", state)
        add(other, "cup", "b")
        assert len(asked) == 4  # two attempts
        assert held(one) == [("cup", "a"), ("cup", "b")]


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts of one folder through FUSE, each with a memory of its own of what is in the files."""
    if not (shutil.which("bindfs") and os.access("/dev/fuse", os.R_OK | os.W_OK)):
        pytest.skip("needs bindfs and /dev/fuse")
    (tmp_path / "real").mkdir()
    made: list[Path] = []

    def mount(*options: str) -> Path:
        place = tmp_path / f"mount{len(made)}"
        place.mkdir()
        done = subprocess.run(["bindfs", *options, tmp_path / "real", place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"bindfs: {done.stderr.decode()}")
        made.append(place)
        return place

    yield mount
    for place in made:
        subprocess.run(["fusermount", "-u", "-z", place], check=False)


def test_a_share_without_shared_memory_is_taught(mounts: Callable[..., Path], tmp_path: Path) -> None:
    with Gallery.open(mounts("-o", "direct_io") / "g", PRINT, WIDTH, create=True) as gallery:
        add(gallery, "cup", "a")
    with Gallery.open(tmp_path / "real" / "g", PRINT, WIDTH) as gallery:
        assert held(gallery) == [("cup", "a")]


def test_two_devices_on_one_real_share_lose_nothing(mounts: Callable[..., Path], tmp_path: Path) -> None:
    places = [mounts("--enable-lock-forwarding", "--multithreaded") for _ in range(2)]
    with (
        Gallery.open(places[0] / "g", PRINT, WIDTH, create=True) as one,
        Gallery.open(places[1] / "g", PRINT, WIDTH) as other,
    ):
        for i in range(20):
            add((one, other)[i % 2], f"c{i:02}", f"{i}")
    with Gallery.open(tmp_path / "real" / "g", PRINT, WIDTH) as gallery:
        assert gallery.check() == []
        assert list(gallery.classes()) == [f"c{i:02}" for i in range(20)]


# Without locks


def test_locks_that_are_refused_are_told_as_that(path: Path, without_locks: Callable[[], None]) -> None:
    without_locks()
    with pytest.raises(GalleryError, match=r"refuses to lock files.*--gallery"):
        Gallery.open(path, PRINT, WIDTH, create=True)
    assert Gallery.open_if_exists(path, PRINT, WIDTH) is None  # what the attempt left stops nobody
    assert Gallery.open_any_if_exists(path) is None


def test_without_locks_a_gallery_is_read_and_not_written(path: Path, without_locks: Callable[[], None]) -> None:
    with Gallery.open(path, PRINT, WIDTH, create=True) as gallery:
        add(gallery, "cup", "a")
    without_locks()
    with Gallery.open(path, PRINT, WIDTH, read_only=True) as gallery:
        assert held(gallery) == [("cup", "a")]
    with pytest.raises(GalleryError, match="refuses to lock files"):
        Gallery.open(path, PRINT, WIDTH)


def test_an_empty_file_is_a_gallery_of_nothing(bundle: Bundle, photos: Path, path: Path) -> None:
    path.touch()
    with Classifier.open(bundle, path) as classifier:
        assert classifier.predict(photos / "0" / "0.png").label in "0123"
        classifier.enroll("mine", photos / "0" / "0.png")
    with Gallery.open_any(path) as gallery:
        assert gallery.classes() == {"mine": 1}


# Copies


def copied(path: Path) -> list[tuple[str, str]]:
    copy = path.with_name("copy")
    shutil.copyfile(path, copy)
    with Gallery.open(copy, PRINT, WIDTH, read_only=True) as gallery:
        assert gallery.check() == []
        return held(gallery)


def test_a_copy_of_the_one_file_holds_all_that_was_acknowledged(path: Path) -> None:
    with (
        Gallery.open(path, PRINT, WIDTH, create=True) as gallery,
        Gallery.open(path, PRINT, WIDTH, read_only=True) as reader,
    ):
        for n, key in enumerate("abcdef", 1):
            add(gallery, "cup", key)
            assert len(copied(path)) == n
            assert len(reader.load().ids) == n
        gallery.forget("cup")
        assert copied(path) == []
        gallery.undo()
        gallery.rename("cup", "mug")
        assert copied(path) == [("mug", key) for key in "abcdef"]


def test_a_reader_amid_an_older_state_keeps_no_change_from_being_acknowledged(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "_READER_SECONDS", 0.01)
    with (
        Gallery.open(path, PRINT, WIDTH, create=True) as gallery,
        Gallery.open(path, PRINT, WIDTH, read_only=True) as reader,
    ):
        add(gallery, "cup", "a")
        with reader.reading() as db:
            db.execute("SELECT count(*) FROM examples").fetchone()
            assert add(gallery, "cup", "b").classes == {"cup": 2}
        add(gallery, "cup", "c")
        assert copied(path) == [("cup", "a"), ("cup", "b"), ("cup", "c")]


# Who may read


@pytest.fixture
def usual_mask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("usual_mask")
def test_pictures_of_people_are_their_owners_alone(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    with Classifier.open(bundle, tmp_path / "g") as classifier:
        classifier.enroll("me", photos / "0" / "0.png")
        assert {p.name: mode(p) for p in tmp_path.iterdir()} == dict.fromkeys(("g", "g-wal", "g-shm"), 0o600)
    with Gallery.open_any(tmp_path / "g") as gallery:
        export(gallery, tmp_path / "export")
        write_sheet(gallery, tmp_path / "sheet.html")
        write_thumbnails(gallery, tmp_path / "pictures")
    assert mode(tmp_path / "export") == mode(tmp_path / "sheet.html") == 0o600
    assert mode(tmp_path / "pictures") == mode(tmp_path / "pictures" / "me") == 0o700
    assert mode(tmp_path / "pictures" / "me" / "1.jpg") == 0o600


@pytest.mark.usefixtures("usual_mask")
def test_a_mode_that_someone_chose_stays(path: Path) -> None:
    with Gallery.open(path, PRINT, WIDTH, create=True) as gallery:
        add(gallery, "cup", "a")
    path.chmod(0o640)
    with Gallery.open(path, PRINT, WIDTH) as gallery:
        add(gallery, "cup", "b")
        write_sheet(gallery, path.with_name("s.html"))
        path.with_name("s.html").chmod(0o644)
        write_sheet(gallery, path.with_name("s.html"))
    assert mode(path) == 0o640
    assert mode(path.with_name("s.html")) == 0o644
