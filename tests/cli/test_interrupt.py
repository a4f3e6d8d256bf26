"""Ctrl-C: where it strikes, how it ends, and what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from tlc_edge.cli.interrupt import Interrupt
from tlc_edge.cli.output import Steps


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
            with Steps() as progress:
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
            with Steps():
                swallowed_by_a_library()
                raise ValueError("half an import")

        with pytest.raises(KeyboardInterrupt):
            work()

    def test_other_errors_are(self) -> None:
        with pytest.raises(ValueError, match="a real one"), Steps():
            raise ValueError("a real one")

    def test_at_the_very_end_the_work_is_done(self) -> None:
        with Steps(quiet=True) as progress:
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


def press_when(moment: str, *words: str) -> tuple[int, str, str]:
    """Run `tlc` as a process of its own and press Ctrl-C at the first call of a function for which `moment` holds.

    `moment` is an expression of `frame`, the call's, and of `up`, the qualified names of it and of all that called it.
    """
    script = f"""
import os, signal, sys

def call(frame, event, argument):
    up, outer = [], frame
    while outer is not None:
        up.append(outer.f_code.co_qualname)
        outer = outer.f_back
    if {moment}:
        sys.settrace(None)
        os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
from tlc_edge.cli import main
sys.argv = ["tlc", *{words!r}]
sys.settrace(call)
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr.lstrip("\n")


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("frame.f_globals['__name__'] == 'click'", id="a module's own lines run"),
        pytest.param("up[0] == '_find_spec'", id="a module is looked for"),
        pytest.param(
            "up[0] == '_ModuleLockManager.__exit__' and up.count('_find_and_load') > 3", id="a lock is let go"
        ),
        pytest.param("up[0] == '_get_module_lock.<locals>.cb'", id="a lock is dropped"),
        pytest.param(
            "up[0] == '_find_and_load' and any(n.startswith('ExtensionFileLoader.') for n in up)",
            id="a native module that is being started imports another",
        ),
        pytest.param("up[0] == 'Classifier.open'", id="all is imported"),
    ],
)
def test_ctrl_c_while_the_libraries_load(moment: str) -> None:
    assert press_when(moment, "predict", "no such bundle", "no such image") == (1, "", LINE)


def test_the_moments_above_come() -> None:
    """The same without a moment: it ends with the mistake, not with the interrupt."""
    code, out, said = press_when("False", "predict", "no such bundle", "no such image")
    assert (code, out) == (1, "")
    assert said.startswith("Error: no such bundle: no such bundle")


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


def test_while_python_tidies_up_the_exit_code_stays() -> None:
    script = (
        "import atexit, os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
        "from tlc_edge.cli import main\n"
        "sys.argv = ['tlc', '--version']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tlc")
