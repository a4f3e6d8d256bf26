"""A signal at a moment that is an event: a script sends it to itself, at a call of a Python function."""

from __future__ import annotations

import subprocess
import sys

PRESS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background ignores it

def pressed_at(moment):
    'Press Ctrl-C at the first call of which `moment` holds, given the qualified names of it and of all that called it.'
    def call(frame, event, argument):
        up = []
        while frame is not None:
            up.append(frame.f_code.co_qualname)
            frame = frame.f_back
        if moment(up):
            sys.settrace(None)
            os.kill(os.getpid(), signal.SIGINT)
    sys.settrace(call)

def sent_at_call(number, sent=signal.SIGINT, first="_find_and_load"):
    'Send a signal at a call, counted from that of the function `first` on; say at the end how many calls there were.'
    import atexit
    calls = 0
    def call(frame, event, argument):
        nonlocal calls
        if calls or frame.f_code.co_qualname == first:
            calls += 1
            if calls == number:
                os.kill(os.getpid(), sent)
    atexit.register(lambda: (sys.settrace(None), print(calls, file=sys.stderr)))
    sys.settrace(call)

"""


def script(text: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a script that begins with PRESS; `words` are its arguments."""
    return subprocess.run(
        [sys.executable, "-c", PRESS + text, *map(str, words)], capture_output=True, text=True, timeout=300
    )
