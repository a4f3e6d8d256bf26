"""What a process gives up before it reads a stranger's file: the network, the file system, and most of the machine.

Nothing is installed for it: the limits are POSIX, and Landlock (Linux 5.13) is three system calls. Each of these is
used where the kernel has it; the limit on open files, which every kernel has, alone keeps any path from being opened.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS = 38
# The same numbers on every processor (asm-generic/unistd.h).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
# By the ABI that brought them: the rights over files, over TCP ports, and the scopes of sockets and signals.
_FILES = ((1, 0x1FFF), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
_READ = 0b1101  # execute, read a file, list a folder
_PORTS = ((4, 0b11),)
_SCOPES = ((6, 0b11),)


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("ports", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


_PATH_BENEATH = 1  # LANDLOCK_RULE_PATH_BENEATH


def confine(memory: int, seconds: int) -> tuple[str, ...]:
    """Give up, for the rest of this process, all but what is open; return by what means.

    `memory` is what it may allocate from here on, in bytes, and `seconds` how long it may compute. No file can be
    written or opened after it, no connection made. To be called once everything is imported, from the only thread.
    """
    bound_memory(memory)
    means = _confine(seconds, _CLONE_NEWUSER | _CLONE_NEWNET, reading=False)
    # Last: the ruleset took a number too. One that is free below the limit would let a path be opened.
    _lower(resource.RLIMIT_NOFILE, _lowest_free())
    return means


def confine_to_reading(seconds: int) -> tuple[str, ...]:
    """Give up, for the rest of this process, writing and the network; return by what means.

    For what must load libraries afterwards: every path can still be read. From the only thread; `bound_memory` is for
    after the libraries.
    """
    # Not the user's namespace first: in one of its own, root would lose the right to read others' files.
    return _confine(seconds, _CLONE_NEWNET, reading=True)


def bound_memory(memory: int) -> None:
    """Let this process allocate so many bytes from here on."""
    _lower(resource.RLIMIT_AS, _pages_held() + memory)


def _confine(seconds: int, first: int, *, reading: bool) -> tuple[str, ...]:
    means = ["limits"]
    _lower(resource.RLIMIT_CPU, int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2])) + seconds)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_CORE, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    ways = dict.fromkeys((first, _CLONE_NEWUSER | _CLONE_NEWNET, _CLONE_NEWNET))
    if hasattr(libc, "unshare") and any(libc.unshare(flags) == 0 for flags in ways):
        means.append("network namespace")
    if _landlock(libc, reading):
        means.append("landlock")
    return tuple(means)


def _landlock(libc: ctypes.CDLL, reading: bool) -> bool:
    """Allow no port and no path from here on, or none but for reading; return whether the kernel can."""
    libc.syscall.restype = ctypes.c_long
    abi = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if abi < 1:
        return False
    rights = [sum(bits for since, bits in kind if since <= abi) for kind in (_FILES, _PORTS, _SCOPES)]
    wanted = _Ruleset(*rights)
    # A kernel refuses a structure that is longer than what it knows.
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    rules = libc.syscall(_CREATE_RULESET, ctypes.byref(wanted), ctypes.c_size_t(size), 0)
    if rules < 0:
        return False
    try:
        if reading and not _allow_reading(libc, rules):
            return False
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(libc.syscall(_RESTRICT_SELF, rules, 0) == 0)
    finally:
        os.close(rules)


def _allow_reading(libc: ctypes.CDLL, rules: int) -> bool:
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = _Beneath(_READ, root)
        return bool(libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(allowed), 0) == 0)
    finally:
        os.close(root)


def _lower(limit: int, value: int) -> None:
    with contextlib.suppress(ValueError, OSError):  # it is lower already
        resource.setrlimit(limit, (value, value))


def _lowest_free() -> int:
    number = os.dup(0)
    os.close(number)
    return number


def _pages_held() -> int:
    """Return the address space in use, in bytes."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 1 << 30
