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
    @pytest.mark.parametrize("lose", [dropped_by_python, swallowed_by_a_library])
    def test_it_is_raised_again_at_the_next_progress(
        self, lose: Callable[[], None], capsys: pytest.CaptureFixture[str]
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
        assert reached == ["after"]
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
        "main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "Interrupted; nothing was left half-written.\n")


def test_while_python_tidies_up_the_exit_code_stays() -> None:
    script = (
        "import atexit, os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
        "from tlc_edge.cli import main\n"
        "main(['--version'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tlc")
