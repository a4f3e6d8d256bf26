"""Versions of installed packages, without what `importlib.metadata` brings along: it takes longer than a prediction."""

from __future__ import annotations

import os
import re
import sys

_INFO = ".dist-info"


def version_of(name: str) -> str:
    """Return the version of an installed package, for people.

    As `importlib.metadata` does, the first folder of `sys.path` counts that has it. What pip did not put there as it
    does today is left to that module.
    Source: https://packaging.python.org/en/latest/specifications/recording-installed-packages/
    """
    wanted = _plain(name)
    start = wanted.partition("_")[0]
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - what is on sys.path need be no folder
        except OSError:
            continue
        for one in names:
            if not one.lower().startswith(start):
                continue
            package, _, version = one.removesuffix(_INFO).partition("-")
            if one.endswith(_INFO) and _plain(package) == wanted and _has_metadata(folder, one):
                return version
            if one.endswith((".egg-info", ".egg", ".egg-link")) and _plain(one).startswith(wanted):
                return _asked(name)
    return _asked(name)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _has_metadata(folder: str, name: str) -> bool:
    return os.path.isfile(os.path.join(folder, name, "METADATA"))  # noqa: PTH113, PTH118


def _asked(name: str) -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"  # put there by something other than pip
