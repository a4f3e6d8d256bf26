"""A systemd unit that runs `tlc watch`, or `tlc serve`.

Source: systemd.service(5), systemd.exec(5), and systemd.syntax(7) for what must be escaped.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tlc_edge.runtime.errors import DeviceError, UsageError
from tlc_edge.runtime.files import write_file

_MARK = "# Written by tlc service {command}; written anew it is replaced."
_COMMANDS = {"watch": "install", "serve": "serve"}
_STOP = "TimeoutStopSec=45\nUMask=0077\n"  # the server lets what is under way come to its end
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_UNIT = """{mark}
[Unit]
Description=tlc {what} ({name})
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
ExecStart={start}
WorkingDirectory={folder}
User={user}
SupplementaryGroups=video
StateDirectory={name}
StateDirectoryMode=0700
ReadWritePaths={writable}
{trust}Environment=XDG_CACHE_HOME=%S/{name}
EnvironmentFile=-/etc/{name}.env
WatchdogSec=60
Restart=on-failure
RestartSec=5
{stop}ProtectSystem=strict
PrivateTmp=yes
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
"""


def service_unit(runs: str, name: str, command: Sequence[str], folders: Sequence[Path], user: str) -> str:
    """Return the text of a unit that `runs` tlc watch or tlc serve; all but `folders` and its own is read-only to it.

    Raises:
        UsageError: the name or the user's name is none, or an option holds what a unit cannot.
    """
    for what, value in (("--name", name), ("--user", user)):
        if not _NAME.fullmatch(value):
            raise UsageError(f"{what} {value!r}: expected letters, digits, and _ . - between them")
    words = [*command, *map(str, folders), str(Path.cwd())]
    if any(not word.isprintable() for word in words):
        raise UsageError("a word with a line break or another control character cannot stand in a unit")
    return _UNIT.format(
        mark=_mark(runs),
        what=runs,
        stop=_STOP if runs == "serve" else "",
        name=name,
        start=" ".join([_quoted(command[0]), *(_quoted(word).replace("$", "$$") for word in command[1:])]),
        folder=str(Path.cwd()).replace("%", "%%"),
        user=user,
        writable=" ".join(_quoted(str(folder)) for folder in folders),
        trust=_trust_line(user),
    )


def _mark(runs: str) -> str:
    return _MARK.format(command=_COMMANDS[runs])


def _trust_line(user: str) -> str:
    """Return the line for where the newest serial numbers of signed bundles are kept; `-`: it need not be there."""
    try:
        folder = Path(f"~{user}").expanduser() / ".config" / "tlc" / "trust"
    except RuntimeError:  # no such user here
        return ""
    text = str(folder)
    return f"ReadWritePaths=-{_quoted(text)}\n" if text.isprintable() and " " not in text else ""


def writable_folders(name: str, bundle: Path, gallery: str | None, kept: str | None) -> list[Path]:
    """Return what the service must be able to write to: the folder of its gallery, and that of kept pictures.

    It makes the last itself, so it is the one above where that is not there yet; nothing in /var/lib/NAME is listed.
    """
    own = Path("/var/lib") / name
    folders = [(Path(gallery) if gallery else bundle).absolute().parent]
    if kept is not None:
        folder = Path(kept).absolute()
        folders.append(folder if folder.is_dir() else folder.parent)
    return [f for f in dict.fromkeys(folders) if not f.is_relative_to(own)] or [own]


def write_unit(path: Path, text: str) -> Path:
    """Write a unit that only root may read, as its options may hold a password.

    Raises:
        DeviceError: it cannot be written, or something else stands there.
    """
    try:
        if path.exists() and not path.read_text("utf-8").startswith(tuple(map(_mark, _COMMANDS))):
            raise DeviceError(f"{path}: is there, and tlc did not write it; give another --name, or remove it")
        write_file(path, text.encode(), private=True)
    except (OSError, ValueError) as e:
        why = getattr(e, "strerror", None) or "not text"
        raise DeviceError(f"{path}: {why}; run it with sudo, or write it elsewhere with --to FILE") from None
    return path


def program() -> list[str]:
    """Return the words that start this tlc."""
    script = Path(sys.executable).with_name("tlc")
    return [str(script)] if script.exists() else [sys.executable, "-c", "from tlc_edge.cli import main; main()"]


def usual_user() -> str:
    """Return who called sudo, or else who this is."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return escaped if re.fullmatch(r"[A-Za-z0-9_./:@=+,%-]+", escaped) else f'"{escaped}"'
