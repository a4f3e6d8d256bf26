from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tlc_edge.compiler.cache.folder import caching, clear_cache, find_cache_folder, look_at_cache
from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.runtime.errors import TlcError, UsageError


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def value(number: int) -> bytes:
    return number.to_bytes(4, "big") * 500


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[FeatureCache]:
    with FeatureCache(tmp_path) as opened:
        yield opened


def fill(folder: Path, count: int) -> Path:
    with FeatureCache(folder) as cache:
        cache.put([(key(i), value(i)) for i in range(count)])
        return cache.path


class TestKeeping:
    def test_what_was_put_is_there_also_later(self, tmp_path: Path) -> None:
        fill(tmp_path, 3)
        with FeatureCache(tmp_path) as cache:
            assert [cache.get(key(i)) for i in range(4)] == [value(0), value(1), value(2), None]
            assert (cache.problem, cache.count()[0]) == (None, 3)

    def test_a_key_put_again_has_its_new_value_and_no_other_is_touched(self, cache: FeatureCache) -> None:
        cache.put([(key(1), b"old"), (key(2), b"two")])
        cache.put([(key(1), b"new and longer")])
        assert (cache.get(key(1)), cache.get(key(2)), cache.count()[0]) == (b"new and longer", b"two", 2)

    def test_threads_may_share_one(self, cache: FeatureCache) -> None:
        cache.put([(key(i), value(i)) for i in range(200)])
        wrong: list[int] = []

        def read(offset: int) -> None:
            wrong.extend(i for i in range(offset, 200) if cache.get(key(i)) != value(i))

        threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        cache.put([(key(i), value(i)) for i in range(200, 300)])
        for thread in threads:
            thread.join()
        assert wrong == []
        assert cache.count()[0] == 300


class TestLimit:
    def test_what_was_used_longest_ago_goes(self, tmp_path: Path) -> None:
        path = fill(tmp_path, 100)
        with sqlite3.connect(path) as db:
            db.execute("UPDATE entries SET used = used - 10000")
        db.close()
        with FeatureCache(tmp_path) as cache:
            assert cache.get(key(3)) == value(3)  # the first to go by age, but for this
        with FeatureCache(tmp_path, limit=150_000) as cache:
            cache.put([(key(1000), value(1000))])
            assert cache.get(key(3)) == value(3)
            assert cache.get(key(1000)) == value(1000)
            assert cache.get(key(0)) is None
            assert 30 < cache.count()[0] < 80
        assert path.stat().st_size <= 150_000

    def test_below_the_limit_nothing_goes(self, tmp_path: Path) -> None:
        fill(tmp_path, 100)
        with FeatureCache(tmp_path, limit=1_000_000) as cache:
            cache.put([(key(1000), value(1000))])
            assert cache.count()[0] == 101


class TestDamage:
    def test_a_changed_value_is_a_miss_and_the_others_are_not(self, tmp_path: Path) -> None:
        path = fill(tmp_path, 3)
        data = bytearray(path.read_bytes())
        at = data.index(value(1)[:1000])
        data[at + 100] ^= 1
        path.write_bytes(data)
        with FeatureCache(tmp_path) as cache:
            assert [cache.get(key(i)) for i in range(3)] == [value(0), None, value(2)]
            cache.put([(key(1), value(1))])
            assert cache.get(key(1)) == value(1)

    def test_a_value_under_anothers_key_is_a_miss(self, tmp_path: Path) -> None:
        path = fill(tmp_path, 2)
        with sqlite3.connect(path) as db:
            db.execute("UPDATE entries SET id = 3 - id")
        db.close()
        with FeatureCache(tmp_path) as cache:
            assert [cache.get(key(i)) for i in range(2)] == [None, None]

    @pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "middle", "other tables"])
    def test_a_damaged_file_is_replaced(self, damage: str, tmp_path: Path) -> None:
        path = fill(tmp_path, 200)
        whole = path.read_bytes()
        if damage == "other tables":
            path.unlink()
            with sqlite3.connect(path) as db:
                db.execute("CREATE TABLE entries (key BLOB, other BLOB)")
            db.close()
        else:
            path.write_bytes(
                {
                    "garbage": b"not a database" * 1000,
                    "empty": b"",
                    "cut": whole[: len(whole) // 2],
                    "middle": whole[:4096] + b"\xaa" * 40_000 + whole[44_096:],
                }[damage]
            )
        with FeatureCache(tmp_path) as cache:
            assert all(cache.get(key(i)) in (None, value(i)) for i in range(200))
            for _ in range(2):  # what the first runs into it mends
                cache.put([(key(i), value(i)) for i in range(200)])
            assert all(cache.get(key(i)) == value(i) for i in range(200))
            assert cache.problem is None

    def test_a_cache_that_cannot_be_is_no_cache_and_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with FeatureCache(tmp_path / "file" / "features") as cache:
            cache.put([(key(1), value(1))])
            assert cache.get(key(1)) is None
            assert "cannot be used" in str(cache.problem)
        assert (tmp_path / "file").read_text() == "in the way"

    def test_a_full_disk_is_a_problem_and_no_error(self, tmp_path: Path) -> None:
        with FeatureCache(tmp_path) as cache:
            assert cache._db is not None
            cache._db.execute("PRAGMA max_page_count = 20")
            cache.put([(key(i), value(i)) for i in range(500)])
            assert "full" in str(cache.problem)
        with FeatureCache(tmp_path) as cache:
            assert (cache.problem, cache.count()[0]) == (None, 0)


WRITER = """
import sys
from pathlib import Path
from tlc_edge.compiler.cache.store import FeatureCache
folder, start, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with FeatureCache(folder) as cache:
    for i in range(start, start + count):
        cache.put([(n.to_bytes(32, "big"), n.to_bytes(4, "big") * 500) for n in (2 * i, 2 * i + 1)])
        print(i, flush=True)
    assert cache.problem is None, cache.problem
"""


def write(folder: Path, start: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), str(start), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


class TestProcesses:
    def test_several_builds_at_once(self, tmp_path: Path) -> None:
        builds = [write(tmp_path, start, 60) for start in (0, 30, 60)]  # overlapping, and all making the file
        for build in builds:
            build.communicate()
        assert [build.returncode for build in builds] == [0, 0, 0]
        with FeatureCache(tmp_path) as cache:
            assert all(cache.get(key(i)) == value(i) for i in range(240))

    def test_a_kill_loses_nothing_that_was_put(self, tmp_path: Path) -> None:
        build = write(tmp_path, 0, 100_000)
        assert build.stdout is not None
        told = -1
        while told < 20:
            told = int(build.stdout.readline())
        build.send_signal(signal.SIGKILL)
        rest = build.communicate()[0].split()
        told = int(rest[-1]) if rest else told
        with FeatureCache(tmp_path) as cache:
            assert all(cache.get(key(i)) == value(i) for i in range(2 * told + 2))
            assert cache.count()[0] % 2 == 0  # a put is whole or not there
            assert cache.problem is None


class TestFolder:
    def test_option_then_environment_then_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        monkeypatch.delenv("TLC_CACHE", raising=False)
        assert find_cache_folder(None) == tmp_path / "xdg" / "tlc"
        monkeypatch.setenv("TLC_CACHE", str(tmp_path / "own"))
        assert find_cache_folder(None) == tmp_path / "own"
        assert find_cache_folder(str(tmp_path / "asked")) == tmp_path / "asked"
        assert find_cache_folder("off") is None
        monkeypatch.setenv("TLC_CACHE", "off")
        assert find_cache_folder(None) is None
        with caching(None) as cache:
            assert cache is None

    def test_the_limit_comes_from_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TLC_CACHE_MB", "3")
        assert look_at_cache(str(tmp_path)).limit == 3_000_000
        for bad in ("0", "-1", "2GB", "²"):
            monkeypatch.setenv("TLC_CACHE_MB", bad)
            with pytest.raises(UsageError, match="whole number of megabytes"), caching(str(tmp_path)):
                pass

    def test_looking_makes_nothing_and_clearing_removes_only_what_is_ours(self, tmp_path: Path) -> None:
        empty = look_at_cache(str(tmp_path / "none"))
        assert (empty.entries, empty.features, empty.data) == (0, 0, 0)
        assert not (tmp_path / "none").exists()
        assert clear_cache(str(tmp_path / "none")) == clear_cache("off") == 0
        with caching(str(tmp_path)) as cache:
            assert cache is not None
            cache.put([(key(1), value(1))])
        (tmp_path / "downloads").mkdir()
        (tmp_path / "downloads" / "pets.zip").write_bytes(b"x" * 1000)
        (tmp_path / "mine.txt").write_text("keep")
        found = look_at_cache(str(tmp_path))
        assert (found.entries, found.data) == (1, 1000)
        assert clear_cache(str(tmp_path)) > found.data
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

    def test_clearing_what_cannot_be_removed(self, tmp_path: Path) -> None:
        (tmp_path / "features").write_text("a file where a folder should be")
        with pytest.raises(TlcError, match="cannot be removed"):
            clear_cache(str(tmp_path))
