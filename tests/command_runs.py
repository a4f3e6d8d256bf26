"""Running `tlc` in tests: in this process where that is enough, as a command of its own where it is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlc_edge.cli import main

_SCRIPT = Path(sys.executable).with_name("tlc")
COMMAND = [str(_SCRIPT)] if _SCRIPT.exists() else [sys.executable, "-c", "from tlc_edge.cli import main; main()"]


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    def failed(self, code: int = 1) -> str:
        """Check that it failed as it should, in words for a person, and return them."""
        assert self.code == code, self
        assert "Traceback" not in self.out + self.err, self.err
        assert self.err, self
        return self.err


def here(capfd: Any, *args: object) -> Done:
    """Run the command line in this process."""
    capfd.readouterr()
    try:
        main([str(a) for a in args])
    except SystemExit as e:
        code = e.code
    out, err = capfd.readouterr()
    assert isinstance(code, int)
    return Done(code, out, err)


def apart(*args: object, stdin: bytes = b"", cwd: Path | None = None, **env: str) -> Done:
    """Run the command as a process of its own."""
    done = subprocess.run(
        [*COMMAND, *(a if isinstance(a, bytes) else str(a) for a in args)],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env={**os.environ, **env},
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def shell(line: str, *args: object) -> Done:
    """Run a line of bash in which `tlc` stands for the command with these arguments."""
    done = subprocess.run(
        ["bash", "-c", line.replace("tlc", '"$@"', 1), "bash", *COMMAND, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def at_a_terminal(typed: str, *args: object) -> str:
    """Run the command at a terminal where somebody types, and return what it shows."""
    master, slave = os.openpty()
    with subprocess.Popen([*COMMAND, *map(str, args)], stdin=slave, stdout=slave, stderr=slave):
        os.close(slave)
        os.write(master, typed.encode())
        shown = b""
        try:
            while piece := os.read(master, 1 << 16):
                shown += piece
        except OSError:  # what Linux says when the other end is closed
            pass
    os.close(master)
    return shown.decode()


def without(folder: Path, *modules: str) -> dict[str, str]:
    """Return the environment of a Python in which these modules are not installed."""
    hidden = folder / "hidden"
    hidden.mkdir(exist_ok=True)
    (hidden / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({modules!r}))\n")
    return {"PYTHONPATH": os.pathsep.join([str(hidden), *filter(None, [os.environ.get("PYTHONPATH")])])}
