"""Ctrl-C: where it strikes, how it ends, and what it leaves behind."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pressing import script

from tlc_edge.cli.interrupt import Interrupt
from tlc_edge.cli.output import StepLines


def press() -> None:
    """Press Ctrl-C; the handler runs before this returns."""
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass


def dropped_by_python() -> None:
    class Dying:
        def __del__(self) -> None:
            press()

    Dying()


def swallowed_by_a_library() -> None:
    with contextlib.suppress(BaseException):
        press()


@pytest.fixture(autouse=True)
def _python_has_ctrl_c() -> None:
    # Pytest leaves it alone, but a shell that runs it in the background does not.
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class TestLost:
    @pytest.mark.parametrize(
        ("lose", "reached_all_the_same"), [(dropped_by_python, []), (swallowed_by_a_library, ["after"])]
    )
    def test_it_is_raised_again_at_once_or_at_the_next_progress(
        self, lose: Callable[[], None], reached_all_the_same: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        reached: list[str] = []

        def work() -> None:
            with StepLines() as progress:
                progress("load", 0, 0)
                lose()
                reached.append("after")
                progress("lower", 0, 0)
                reached.append("too far")

        with pytest.raises(KeyboardInterrupt):
            work()
        assert reached == reached_all_the_same
        assert sys.getprofile() is None
        assert "Traceback" not in capsys.readouterr().err

    def test_an_error_that_it_was_turned_into_is_not_reported(self) -> None:
        def work() -> None:
            with StepLines():
                swallowed_by_a_library()
                raise ValueError("half an import")

        with pytest.raises(KeyboardInterrupt):
            work()

    def test_other_errors_are(self) -> None:
        with pytest.raises(ValueError, match="a real one"), StepLines():
            raise ValueError("a real one")

    def test_at_the_very_end_the_work_is_done(self) -> None:
        with StepLines(quiet=True) as progress:
            progress("write", 1, 1)
            swallowed_by_a_library()


class TestHandler:
    def test_ctrl_c_is_pythons_own_again_afterwards(self) -> None:
        hook = sys.unraisablehook
        with Interrupt():
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
            with pytest.raises(KeyboardInterrupt):
                press()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert sys.unraisablehook is hook

    def test_one_inside_another_shares_what_the_other_saw(self) -> None:
        def work() -> None:
            with Interrupt(), Interrupt() as inner:
                swallowed_by_a_library()
                inner.check()

        with pytest.raises(KeyboardInterrupt):
            work()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with Interrupt() as fresh, Interrupt() as inner:
            fresh.check()
            inner.check()

    def test_where_it_is_ignored_it_stays_so(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with Interrupt() as interrupt:
                press()
                interrupt.check()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def test_beside_the_main_thread_nothing_is_touched(self) -> None:
        seen: list[object] = []

        def work() -> None:
            with Interrupt():
                seen.append(signal.getsignal(signal.SIGINT))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert seen == [signal.default_int_handler]


# --- while modules are imported

LINE = "Interrupted; nothing was left half-written.\n"
STARTS = "'ExtensionFileLoader.create_module'"


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("up[0] == 'work'", id="a module's own function runs"),
        pytest.param("up[0] == '_find_spec'", id="a module is looked for"),
        pytest.param("up[0] == '_ModuleLock.release'", id="a lock is freed"),
        pytest.param("up[0] == '_get_module_lock.<locals>.cb'", id="a lock is dropped"),
    ],
)
def test_it_comes_out_of_a_modules_own_lines_not_of_the_import_machinery(tmp_path: Path, moment: str) -> None:
    (tmp_path / "outer.py").write_text("import inner\ndef work(): return inner.work()\nfor _ in range(3): work()\n")
    (tmp_path / "inner.py").write_text("def work(): pass\n")
    done = script(
        "sys.path.insert(0, sys.argv[1])\n"
        "import traceback\n"
        "hidden = ('call', '_event', '_handle')  # where it is raised for where it belongs\n"
        "from tlc_edge.cli.interrupt import Interrupt\n"
        "with Interrupt():\n"
        "    try:\n"
        f"        pressed_at(lambda up: {moment})\n"
        "        import outer\n"
        "    except KeyboardInterrupt as e:\n"
        "        print([f.name for f in traceback.extract_tb(e.__traceback__) if f.name not in hidden])\n",
        str(tmp_path),
    )
    assert done.stderr == ""
    names = ast.literal_eval(done.stdout)
    assert names[-1] in ("work", "<module>")


@pytest.mark.parametrize(("inside", "loaded"), [(True, True), (False, False)], ids=["Interrupt", "Python by itself"])
def test_a_native_module_is_started_to_its_end_first(inside: bool, loaded: bool) -> None:
    """What native code makes of an exception, such as a traceback on stderr, is not ours to choose."""
    done = script(
        "import contextlib\n"
        "from PIL import Image  # what it imports, but for one\n"
        "from tlc_edge.cli.interrupt import Interrupt\n"
        f"with Interrupt() if {inside} else contextlib.nullcontext():\n"
        "    try:\n"
        f"        pressed_at(lambda up: up[0] == {STARTS})\n"
        "        import PIL._imagingmath\n"
        "        for _ in range(3): len('')\n"
        "        print('too far')\n"
        "    except KeyboardInterrupt:\n"
        "        print('PIL._imagingmath' in sys.modules)\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{loaded}\n", "")


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("up[0] == '_find_spec'", id="the first module is looked for"),
        pytest.param("up[0] == '_ModuleLock.release' and up.count('_find_and_load') > 3", id="a lock is freed"),
        pytest.param(
            f"{STARTS.replace('create', 'exec')} in up and up[0] == '_find_and_load'",
            id="a native module imports another",
        ),
        pytest.param("up[0] == 'Classifier.open'", id="all is imported"),
    ],
)
def test_ctrl_c_while_a_command_loads_its_libraries(moment: str) -> None:
    done = script(
        f"from tlc_edge.cli import main\npressed_at(lambda up: {moment})\nmain()",
        *("predict", "no such bundle", "no such image"),
    )
    assert (done.returncode, done.stdout, done.stderr.lstrip("\n")) == (1, "", LINE)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("False", id="never"),
        pytest.param("up == ['_shutdown']", id="threads are waited for"),
        pytest.param("up == ['late']", id="what was registered for the exit runs"),
    ],
)
def test_ctrl_c_when_the_command_has_said_what_it_had_to_say(moment: str) -> None:
    done = script(
        "from tlc_edge.cli import main\n"
        "import atexit, click\n"
        "def late(): pass\n"
        "click.Group.main = lambda self, main=click.Group.main, **given: (atexit.register(late), main(self, **given))\n"
        f"pressed_at(lambda up: {moment})\n"
        "main()",
        *("predict", "no such bundle", "no such image"),
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: no such bundle: no such bundle; make one with `tlc build`\n"


def test_during_the_import_of_the_command_itself() -> None:
    script = (
        "import sys, os, signal\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from tlc_edge.cli import main\n"
        "main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "Interrupted; nothing was left half-written.\n")


def test_what_a_library_makes_of_it_is_not_reported_as_an_error_of_the_library() -> None:
    """As native modules do whose start Ctrl-C breaks off."""
    script = (
        "import sys, os, signal\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'numpy':\n"
        "            try: os.kill(os.getpid(), signal.SIGINT)\n"
        "            except KeyboardInterrupt: raise ImportError('initialization failed')\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from tlc_edge.cli import main\n"
        "main(['predict', 'no such bundle', 'no such image'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.lstrip()) == (1, "", LINE)
