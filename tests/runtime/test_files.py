"""Files whole or not at all: what is there after a failure, in what order it reaches the disk, and with which mode."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tlc_edge.runtime.files import (
    beside,
    file_sha256,
    is_own,
    put_in_place,
    sync_folder,
    write_file,
    write_folder,
    write_new,
    writing,
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is brought to the disk and what is renamed, in order, by the names of files; all of it is really done."""
    seen: list[str] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def synced(fd: int) -> None:
        seen.append(f"sync {Path(f'/proc/self/fd/{fd}').readlink().name}")
        fsync(fd)

    def moved(how: Any) -> Any:
        def move(self: Path, target: Path) -> Path:
            seen.append(f"{self.name} to {Path(target).name}")
            return how(self, target)

        return move

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", moved(replace))
    monkeypatch.setattr(Path, "rename", moved(rename))
    return seen


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_after_it(tmp_path: Path, calls: list[str]) -> None:
    write_file(tmp_path / "a.json", b"{}")
    assert (tmp_path / "a.json").read_bytes() == b"{}"
    assert names(tmp_path) == ["a.json"]
    part = calls[0].removeprefix("sync ")
    assert part.startswith(".a.json.")
    assert calls == [f"sync {part}", f"{part} to a.json", f"sync {tmp_path.name}"]


def test_a_folders_files_and_folders_are_on_the_disk_before_it_has_its_name(tmp_path: Path, calls: list[str]) -> None:
    with beside(tmp_path / "made") as part:
        write_folder(part, {"a": b"1", "in/b": b"2"})
        put_in_place(part, tmp_path / "made")
    assert names(tmp_path) == ["made", "made/a", "made/in", "made/in/b"]
    assert calls[:2] == ["sync a", "sync b"]
    assert sorted(calls[2:4]) == ["sync in", "sync made"]
    assert calls[4:] == ["made to made", f"sync {tmp_path.name}"]


def test_a_folder_takes_the_place_of_another_whole(tmp_path: Path) -> None:
    old = tmp_path / "made"
    old.mkdir()
    (old / "gone").write_text("old")
    with beside(old) as part:
        write_folder(part, {"a": b"new"})
        put_in_place(part, old)
    assert names(tmp_path) == ["made", "made/a"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path: Path) -> None:
    old = tmp_path / "made"
    old.mkdir()
    (old / "kept").write_text("old")
    with beside(old) as part, pytest.raises(FileNotFoundError):
        put_in_place(part, old)  # there is none yet
    assert names(tmp_path) == ["made", "made/kept"]


def test_a_file_takes_no_folders_place_and_a_folder_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(IsADirectoryError):
        write_file(tmp_path / "folder", b"new")
    with beside(tmp_path / "file") as part:
        write_folder(part, {"a": b"new"})
        with pytest.raises(NotADirectoryError):
            put_in_place(part, tmp_path / "file")
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("there", [None, b"old"], ids=["new", "replaced"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")], ids=type)
def test_what_fails_in_the_middle_leaves_what_was_there(
    tmp_path: Path, there: bytes | None, error: BaseException
) -> None:
    path = tmp_path / "a"
    if there is not None:
        path.write_bytes(there)

    def fail() -> None:
        with writing(path) as out:
            out.write(b"half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert names(tmp_path) == ([] if there is None else ["a"])
    assert there is None or path.read_bytes() == there


def test_a_disk_that_cannot_keep_it_is_an_error_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="Input/output"):
        write_file(tmp_path / "a", b"new")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP], ids=errno.errorcode.get)
def test_a_file_system_that_cannot_bring_folders_to_the_disk_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fsync = os.fsync

    def files_only(fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):  # noqa: PTH112
            raise OSError(code, os.strerror(code))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", files_only)
    write_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_file(tmp_path / "a", b"1")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755], ids=oct)
def test_what_is_replaced_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_file(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", mode)
    with writing(tmp_path / "copy", like=path) as out:
        out.write(b"new")
    assert (tmp_path / "copy").stat().st_mode & 0o777 == mode


def test_the_hash_of_a_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(data)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "none")


@pytest.mark.parametrize("links", [True, False], ids=["links", "no hard links"])
def test_a_new_file_takes_nobodys_place(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr("os.link", refuse)
    write_new(tmp_path / "a", b"new", private=True)
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "a").stat().st_mode & 0o777) == (b"new", 0o600)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for there in ("a", "link"):
        with pytest.raises(FileExistsError):
            write_new(tmp_path / there, b"other")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "link"]


@pytest.mark.parametrize("links", [True, False], ids=["links", "no hard links"])
def test_a_new_file_is_on_the_disk_before_its_name(
    tmp_path: Path, links: bool, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr("os.link", refuse)
    (tmp_path / "plain").write_bytes(b"")
    write_new(tmp_path / "a", b"new")
    assert calls == ["sync a"] * (1 if links else 2) + [f"sync {tmp_path.name}"]
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_is_brought_to_the_disk_is_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it may still wait in Python's own buffer, which the system knows nothing of."""
    sizes: list[int] = []
    fsync = os.fsync

    def synced(fd: int) -> None:
        sizes.append(os.fstat(fd).st_size)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", synced)
    write_file(tmp_path / "a", b"123")
    write_new(tmp_path / "b", b"123")
    (tmp_path / "c").mkdir()
    write_folder(tmp_path / "c", {"d": b"123"})
    assert [size for size in sizes if size < 100] == [3, 3, 3]  # the others are folders


def test_folders_that_are_brought_to_the_disk_are_closed_again(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        sync_folder(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_second_ctrl_c_while_tidying_up_leaves_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It falls into the first removal, which then removes nothing."""
    rmtree, unlink = shutil.rmtree, Path.unlink
    fresh = {"unlink": True, "rmtree": True}

    def interrupted(name: str, how: Any) -> Any:
        def remove(*given: Any, **more: Any) -> None:
            if fresh[name]:
                fresh[name] = False
                raise KeyboardInterrupt
            how(*given, **more)

        return remove

    monkeypatch.setattr(Path, "unlink", interrupted("unlink", unlink))
    monkeypatch.setattr(shutil, "rmtree", interrupted("rmtree", rmtree))

    def write() -> None:
        with writing(tmp_path / "a") as out:
            out.write(b"half")
            raise KeyboardInterrupt

    def grow() -> None:
        with beside(tmp_path / "b") as part:
            part.write_bytes(b"half")
            raise KeyboardInterrupt

    for stopped in (write, grow):
        with pytest.raises(KeyboardInterrupt):
            stopped()
    assert (names(tmp_path), fresh) == ([], {"unlink": False, "rmtree": False})


def test_a_room_that_somebody_else_removed_is_no_error(tmp_path: Path) -> None:
    with beside(tmp_path / "a") as part:
        part.parent.rmdir()
    assert names(tmp_path) == []


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_ctrl_c_between_two_renames_leaves_one_whole_folder(
    tmp_path: Path, step: int, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "made"
    old.mkdir()
    (old / "a").write_bytes(b"old")
    rename, count = Path.rename, 0

    def interrupted(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == step and not done:
            raise KeyboardInterrupt
        found = rename(self, target)
        if count == step:
            raise KeyboardInterrupt
        return found

    def replaced() -> None:
        with beside(old) as part:
            write_folder(part, {"a": b"new"})
            put_in_place(part, old)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replaced()
    assert names(tmp_path) == ["made", "made/a"]
    assert (old / "a").read_bytes() == (b"new" if (step, done) == (2, True) else b"old")


# --- whose a path is


@pytest.mark.parametrize("make", ["file", "folder"])
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o664, 0o620, 0o622, 0o602, 0o666, 0o601])
@pytest.mark.parametrize("whose", ["mine", "another group", "another user"])
def test_only_what_nobody_else_may_write_is_ones_own(
    tmp_path: Path, make: str, mode: int, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.mkdir() if make == "folder" else path.touch()
    path.chmod(mode)
    found = path.lstat()
    monkeypatch.setattr(os, "getgid", lambda: found.st_gid + (whose == "another group"))
    monkeypatch.setattr(os, "getuid", lambda: found.st_uid + (whose == "another user"))
    everyone, group = bool(mode & 0o002), bool(mode & 0o020)
    assert is_own(path) is (whose != "another user" and not everyone and not (group and whose == "another group"))


def test_links_and_pipes_and_what_is_not_there_are_not_ones_own(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert [is_own(tmp_path / name) for name in ("file", "link", "pipe", "none")] == [True, False, False, False]


def test_where_files_have_no_owners_each_is_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch(0o666)
    monkeypatch.delattr(os, "getuid")
    assert is_own(tmp_path / "file") is True
    assert is_own(tmp_path / "none") is False
