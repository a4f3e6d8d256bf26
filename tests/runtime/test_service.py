"""`tlc service install`: a unit that systemd takes, with words as they were given."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from command_runs import here

from tlc_edge.runtime.errors import UsageError
from tlc_edge.runtime.watch.unit import watch_unit


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


def test_the_unit_lets_serial_numbers_of_signed_bundles_be_kept(bundle_path: Path) -> None:
    text = watch_unit("hall", ["tlc", "watch"], bundle_path.parent, getpass.getuser())
    assert f"ReadWritePaths=-{Path('~' + getpass.getuser()).expanduser()}/.config/tlc/trust" in text.splitlines()
    assert "trust" not in watch_unit("hall", ["tlc", "watch"], bundle_path.parent, "no-such-user")


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
        ([bundle_path], 2, "Missing option '--camera'"),
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
        watch_unit("a", ["tlc", "watch", "x\nExecStartPre=/bin/sh"], tmp_path, "pi")
