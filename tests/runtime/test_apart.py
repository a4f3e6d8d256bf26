"""Code in a process of its own: a module by its name, a file, what it is given, and what is told where it fails."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tlc_edge.runtime.apart import last_line, run_apart
from tlc_edge.runtime.doctor import bench, fresh_start
from tlc_edge.runtime.engines.open import KINDS
from tlc_edge.runtime.engines.tiny_models import MODELS


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "script.py"
    path.write_text(text)
    return path


def test_a_file_gets_its_arguments_and_its_input(tmp_path: Path) -> None:
    path = script(tmp_path, "import sys; print(sys.argv[1:], len(sys.stdin.buffer.read()))")
    done = run_apart(path, "a b", "'", data=bytes(100_000))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"['a b', \"'\"] 100000\n", b"")


def test_what_lies_in_the_folder_that_one_stands_in_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not ours')")
    path = script(tmp_path, "import json; print(json.loads('7'))")
    monkeypatch.chdir(tmp_path)
    assert run_apart(path).stdout == b"7\n"
    assert run_apart("json.tool", data=b"[7]").stdout.split() == [b"[", b"7", b"]"]


def test_a_crash_takes_only_that_process(tmp_path: Path) -> None:
    done = run_apart(script(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    assert done.returncode == -signal.SIGSEGV


def test_what_takes_too_long_is_ended(tmp_path: Path) -> None:
    path = script(tmp_path, "import os, signal; print(os.getpid(), flush=True); signal.pause()")
    with pytest.raises(subprocess.TimeoutExpired) as ended:
        run_apart(path, timeout=1)
    if ended.value.stdout:  # it came to its first line
        with pytest.raises(ProcessLookupError):
            os.kill(int(ended.value.stdout), 0)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (b"Traceback\n  one\nValueError: two\n\n  \n", "ValueError: two"),
        (b"", "nothing"),
        (b" \n\n", "nothing"),
        (b"caf\xe9\n", "caf\\xe9"),
    ],
)
def test_the_last_line_is_told(said: bytes, line: str) -> None:
    assert last_line(said, "nothing") == line


@pytest.mark.parametrize("kind", [k for k in KINDS if k.installed], ids=lambda k: k.name)
def test_a_model_answers_once_and_tells_its_memory(kind: object) -> None:
    done = run_apart(
        "tlc_edge.runtime.doctor.answer_once",
        kind.name,  # type: ignore[attr-defined]
        "1",
        "embedding",
        data=MODELS[kind.format],  # type: ignore[attr-defined]
    )
    found = json.loads(done.stdout)
    assert 0 < found["before"] <= found["peak"]


def test_a_fresh_start_reads_the_clock_before_anything_else_is_imported() -> None:
    body = ast.parse(Path(fresh_start.__file__).read_text("utf-8")).body
    assert [ast.unparse(node) for node in body[1:3]] == [
        "from time import perf_counter",
        "START = perf_counter()",
    ]
    assert [ast.unparse(node) for node in body[3:5]] == [
        "from tlc_edge.runtime.classifier import Classifier",
        "IMPORTED = perf_counter()",
    ]
    assert isinstance(bench._FRESH, Path)  # run as a file: with `-m` tlc would be there before the clock is read
    assert Path(fresh_start.__file__) == bench._FRESH
