"""`tlc service install`: a unit that systemd takes, with words as they were given."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_runs import COMMAND, here
from test_json_shapes import hold

from tlc_edge.runtime.errors import UsageError
from tlc_edge.runtime.watch.alive import Alive, wait
from tlc_edge.runtime.watch.unit import service_unit, writable_folders


def start(text: str) -> list[str]:
    """Return the words that systemd would start: quoting as in a shell, then `%%` and `$$`."""
    (line,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line.removeprefix("ExecStart="))]


def test_the_unit_starts_what_was_typed(
    capfd: pytest.CaptureFixture[str], bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle_path.parent)
    options = ["--camera", "rtsp://me:p%40ss$w@host/a b", "--webhook", 'http://host/?a="b"', "--smooth", "3"]
    done = here(capfd, "service", "install", "--name", "hall", "--user", "pi", "--to", "-", "photos.tlc", *options)
    assert (done.code, done.err) == (0, "")
    words = start(done.out)
    assert words[-len(options) - 2 :] == ["watch", str(bundle_path), *options]
    assert Path(words[0]).is_absolute()
    for line in ("User=pi", "StateDirectory=hall", f"ReadWritePaths={bundle_path.parent}", "ProtectSystem=strict"):
        assert line in done.out.splitlines()
    assert {"Type=notify", "WatchdogSec=60", "Environment=XDG_CACHE_HOME=%S/hall"} <= {*done.out.splitlines()}


def test_what_it_writes_to_is_writable_and_nothing_more(tmp_path: Path) -> None:
    bundle = tmp_path / "b" / "photos.tlc"
    (tmp_path / "there").mkdir()
    for gallery, kept, folders in (
        (None, None, ["b"]),
        (str(tmp_path / "g" / "a.gallery"), None, ["g"]),
        (None, str(tmp_path / "there"), ["b", "there"]),
        (None, str(tmp_path / "k" / "new"), ["b", "k"]),
        (None, "/var/lib/hall/unknown", ["b"]),
    ):
        found = writable_folders("hall", bundle, gallery, kept)
        assert found == [tmp_path / folder for folder in folders]
    assert writable_folders("hall", Path("/var/lib/hall/photos.tlc"), None, None) == [Path("/var/lib/hall")]


# --- what systemd is told meanwhile


@pytest.fixture
def told(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd listens on, with a short name: a socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"{folder}/notify")
        listening.settimeout(60)
        yield listening


def test_a_watcher_says_that_it_is_ready_that_it_lives_and_that_it_ends(
    told: socket.socket, bundle_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "incoming"
    folder.mkdir()
    environment = {**os.environ, "NOTIFY_SOCKET": told.getsockname(), "WATCHDOG_USEC": "400000"}
    command = [*COMMAND, "watch", str(bundle_path), "--camera", str(folder)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as running:
        assert [told.recv(100) for _ in range(4)] == [b"READY=1", *[b"WATCHDOG=1"] * 3]  # though nothing is to be seen
        running.send_signal(signal.SIGTERM)
        while (last := told.recv(100)) == b"WATCHDOG=1":
            pass
        running.communicate(timeout=60)
    assert last == b"STOPPING=1"


def test_beats_are_four_in_the_time_that_may_pass(told: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("tlc_edge.runtime.watch.alive.time.monotonic", lambda: now[0])
    told.setblocking(False)

    def heard(environment: dict[str, str]) -> int:
        alive = Alive({"NOTIFY_SOCKET": told.getsockname(), **environment})
        for _ in range(33):
            alive.beat()
            now[0] += 0.125
        count = 0
        with contextlib.suppress(BlockingIOError):
            while told.recv(100):
                count += 1
        return count

    assert heard({"WATCHDOG_USEC": "4000000"}) == 5
    assert heard({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())}) == 5
    assert heard({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}) == 0  # another process is meant
    assert heard({}) == 0


def test_who_does_not_listen_is_no_trouble(tmp_path: Path) -> None:
    for where in ("", str(tmp_path / "nobody"), "@nobody", "x" * 300):
        alive = Alive({"NOTIFY_SOCKET": where, "WATCHDOG_USEC": "1"})
        assert [tell() for tell in (alive.ready, alive.beat, alive.ending)] == [None] * 3  # and none of them raised
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_file_is_heard_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("")  # the kernel gives it a name
        name: bytes = listening.getsockname()
        Alive({"NOTIFY_SOCKET": "@" + name[1:].decode()}).ready()
        listening.settimeout(60)
        assert listening.recv(100) == b"READY=1"


def test_a_long_wait_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    now, beats = [0.0], [0]

    def sleep(seconds: float) -> None:
        assert seconds <= 5
        now[0] += seconds

    monkeypatch.setattr("tlc_edge.runtime.watch.alive.time.monotonic", lambda: now[0])
    monkeypatch.setattr("tlc_edge.runtime.watch.alive.time.sleep", sleep)
    wait(3600, lambda: beats.__setitem__(0, beats[0] + 1))
    assert (round(now[0]), beats[0]) == (3600, 720)
    wait(-1, lambda: pytest.fail("nothing to wait for"))


def test_the_unit_lets_serial_numbers_of_signed_bundles_be_kept(bundle_path: Path) -> None:
    text = service_unit("watch", "hall", ["tlc", "watch"], [bundle_path.parent], getpass.getuser())
    assert f"ReadWritePaths=-{Path('~' + getpass.getuser()).expanduser()}/.config/tlc/trust" in text.splitlines()
    assert "trust" not in service_unit("watch", "hall", ["tlc", "watch"], [bundle_path.parent], "no-such-user")


def test_systemd_takes_the_unit(capfd: pytest.CaptureFixture[str], bundle_path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "hall.service"
    options = ["--user", "root", "--to", unit, bundle_path, "--camera", "http://host/a%20b?c=$d", "--every", 2]
    done = here(capfd, "service", "install", "--name", "hall", *options)
    assert (done.code, done.out) == (0, "")
    assert done.err == f"{unit} written; next: systemctl daemon-reload && systemctl enable --now hall\n"
    checked = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert "hall.service" not in checked.stdout + checked.stderr, checked.stderr


def test_a_unit_is_for_its_owner_and_replaces_only_its_own_kind(
    capfd: pytest.CaptureFixture[str], bundle_path: Path, tmp_path: Path
) -> None:
    unit, other = tmp_path / "a.service", tmp_path / "b.service"
    for camera in (0, 1):
        assert here(capfd, "service", "install", "--to", unit, bundle_path, "--camera", camera).code == 0
    assert unit.stat().st_mode & 0o777 == 0o600
    assert start(unit.read_text())[-1] == "1"
    other.write_text("[Unit]\n")
    done = here(capfd, "service", "install", "--to", other, bundle_path, "--camera", 0)
    assert done.failed().startswith(f"Error: {other}: is there, and tlc did not write it; give another --name")
    assert other.read_text() == "[Unit]\n"


def test_mistakes_are_told_before_anything_is_written(
    capfd: pytest.CaptureFixture[str], bundle_path: Path, tmp_path: Path
) -> None:
    unit = tmp_path / "a.service"
    for options, code, said in (
        ([bundle_path], 2, "Missing option '--source' / '--camera'"),
        ([bundle_path, "--camera", 0, "--smoth", 3], 2, "No such option"),
        ([tmp_path / "nowhere.tlc", "--camera", 0], 1, "nowhere.tlc"),
        (["--name", "a b", bundle_path, "--camera", 0], 2, "--name 'a b': expected letters"),
    ):
        assert said in here(capfd, "service", "install", "--to", unit, *options).failed(code)
    assert not unit.exists()
    if os.geteuid() != 0:
        done = here(capfd, "service", "install", bundle_path, "--camera", 0)
        assert "run it with sudo, or write it elsewhere with --to FILE" in done.failed()


def test_a_line_break_cannot_begin_another_line_of_the_unit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="control character cannot stand in a unit"):
        service_unit("watch", "a", ["tlc", "watch", "x\nExecStartPre=/bin/sh"], [tmp_path], "pi")


# --- `tlc service serve`


def test_a_server_as_a_service(
    capfd: pytest.CaptureFixture[str], bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle_path.parent)
    options = ["--host", "0.0.0.0", "--tls", "--port", "8443", "--queue", str(tmp_path / "q" / "new")]
    (tmp_path / "q").mkdir()
    words = ["--user", "pi", "--to", tmp_path / "a.service", "--avahi", tmp_path / "b.service", "photos.tlc", *options]
    done = here(capfd, "service", "serve", *words, "--json").json()
    hold("service-serve", done)
    assert start(done["unit"])[-len(options) - 2 :] == ["serve", str(bundle_path), *options]
    lines = {*done["unit"].splitlines()}
    assert {"Type=notify", "WatchdogSec=60", "StateDirectory=tlc-serve", "TimeoutStopSec=45", "UMask=0077"} <= lines
    assert f"ReadWritePaths={bundle_path.parent} {tmp_path / 'q'}" in lines
    assert (tmp_path / "a.service").read_text() == done["unit"]
    found = ElementTree.fromstring((tmp_path / "b.service").read_text())
    assert [found.findtext(f"service/{name}") for name in ("type", "port", "txt-record")] == [
        "_https._tcp",
        "8443",
        "path=/",
    ]
    (tmp_path / "b.service").write_text("something else")
    assert "tlc did not write it" in here(capfd, "service", "serve", *words).failed()
    here(capfd, "service", "serve", "photos.tlc", "--to", "-", "--port", "x").failed(2)
    here(capfd, "service", "serve", "nothing.tlc", "--to", "-").failed()


def test_a_server_says_that_it_is_ready_that_it_lives_and_that_it_ends(
    told: socket.socket, bundle_path: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "NOTIFY_SOCKET": told.getsockname(), "WATCHDOG_USEC": "400000"}
    command = [*COMMAND, "serve", str(bundle_path), "--port", "0", "--state", str(tmp_path / "state")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as running:
        assert [told.recv(100) for _ in range(4)] == [b"READY=1", *[b"WATCHDOG=1"] * 3]
        running.send_signal(signal.SIGTERM)
        while (last := told.recv(100)) == b"WATCHDOG=1":
            pass
        _, said = running.communicate(timeout=60)
    assert last == b"STOPPING=1"
    assert (running.returncode, b"serving photos at http://127.0.0.1:" in said) == (0, True)
