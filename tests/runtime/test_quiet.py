"""What native libraries print stays off the terminal, and what tlc prints arrives, whatever is open."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Native code writes to the descriptors: os.write does the same.
NOISY = """
import os, sys
from tlc_edge.runtime.quiet import quiet
def native():
    for fd in (1, 2):
        try: os.write(fd, b"noise")
        except OSError: pass
def say(text):
    for stream, prefix in ((sys.stdout, ""), (sys.stderr, "error ")):
        if stream is not None:
            print(prefix + text, file=stream)
say("before")
try:
    with quiet():
        native()
        say("noise")
        RAISE
except KeyboardInterrupt:
    pass
with quiet(), quiet():
    native()
say("after")
for fd in (1, 2):  # the streams themselves, not what Python buffers
    try: os.write(fd, b"end")
    except OSError: pass
"""


@pytest.mark.parametrize("end", ["pass", "raise KeyboardInterrupt"])
@pytest.mark.parametrize("closed", ["", "<&-", "2>&-", ">&-", "<&- 2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_noise_is_gone_and_words_arrive(closed: str, end: str) -> None:
    script = NOISY.replace("RAISE", end)
    line = ["bash", "-c", f'"$@" {closed}', "bash", sys.executable, "-u", "-c", script]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0
    out, err = "before\nafter\nend", "error before\nerror after\nend"
    assert done.stdout == ("" if ">&-" in closed.replace("2>&-", "") else out)
    assert done.stderr == ("" if "2>&-" in closed else err)


# Presses Ctrl-C where the streams get their places back.
INTERRUPTED = """
import os, signal, sys, threading
from tlc_edge.runtime import quiet as module
real, pressed = os.dup2, []
def dup2(*args):
    if len(pressed) == PRESS: pressed.append(0); signal.raise_signal(signal.SIGINT)
    pressed.append(0)
    return real(*args)
os.dup2 = dup2
try:
    with module.quiet(): pass
except KeyboardInterrupt:
    os.write(2, b"interrupted")
os.write(1, b"end")
"""


@pytest.mark.parametrize("press", range(4))
def test_ctrl_c_in_the_middle_of_it_leaves_the_streams_where_they_were(press: int) -> None:
    script = INTERRUPTED.replace("PRESS", str(press))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("end", "interrupted")


# A Ctrl-C as a block is left: Python has not come into the block's own lines, which would give the streams back.
BROKEN_OFF = """
import os
from tlc_edge.runtime.quiet import end_quiet, quiet
blocks = [quiet() for _ in range(COUNT)]
for block in blocks:
    block.__enter__()
os.write(2, b"noise")
end_quiet()
os.write(2, b"interrupted")
block = blocks = None
with quiet():
    os.write(1, b"noise")
end_quiet()
os.write(1, b"end")
"""


@pytest.mark.parametrize("count", [0, 1, 3])
def test_what_blocks_hid_that_were_broken_off_is_given_back(count: int) -> None:
    script = BROKEN_OFF.replace("COUNT", str(count))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("end", "noiseinterrupted" if count == 0 else "interrupted")
