"""The newest serial number that this device has seen under each name, so that nothing older is opened again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, cast

from tlc_edge.runtime.errors import TrustError, UsageError
from tlc_edge.runtime.files import alone, write_file

from .release import MOST, Release
from .trusted import check_ours, made_folder, trust_folder

FILE = "newest.json"
_LOCK = "newest.lock"


def newest() -> Mapping[str, int]:
    """Return the newest serial number seen, by name.

    Raises:
        TrustError: the file in which they are kept cannot be read, or somebody else could have written it.
    """
    folder = trust_folder()
    path = None if folder is None else folder / FILE
    if path is None or not path.is_file():
        return {}
    check_ours(path)
    try:
        return _checked(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as e:
        why = getattr(e, "strerror", None) or "damaged"
        raise TrustError(
            f"{path}: {why}, so it cannot be told whether a bundle is older than one seen; remove it to start anew"
        ) from None


def _checked(raw: Any) -> Mapping[str, int]:
    held: Any = cast("dict[str, Any]", raw).get("newest") if isinstance(raw, dict) else None
    if not isinstance(held, dict):
        raise ValueError("no serial numbers")
    found = cast("dict[str, Any]", held)
    if not all(type(n) is int and 0 <= n <= MOST for n in found.values()):
        raise ValueError("no serial numbers")
    return found


def see(release: Release) -> None:
    """Keep a serial number in mind, if it is the newest of its name.

    Raises:
        TrustError: it cannot be written down.
    """
    if newest().get(release.name, -1) >= release.serial:
        return
    folder = made_folder()
    with _alone(folder):
        held = newest()
        if held.get(release.name, -1) < release.serial:
            _write(folder / FILE, {**held, release.name: release.serial})


def start_anew(name: str) -> None:
    """Forget the newest serial number of a name.

    Raises:
        UsageError: none was seen.
        TrustError: it cannot be written down.
    """
    folder = made_folder()
    with _alone(folder):
        held = dict(newest())
        if held.pop(name, None) is None:
            known = ", ".join(repr(n) for n in held) or "none"
            raise UsageError(f"no bundle signed under the name {name!r} was opened here; names: {known}")
        _write(folder / FILE, held)


def _write(path: Path, held: Mapping[str, int]) -> None:
    try:
        write_file(path, (json.dumps({"newest": held}, indent=1, sort_keys=True) + "\n").encode(), private=True)
    except OSError as e:
        raise _unwritable(path, e) from None


def _unwritable(path: Path, e: OSError) -> TrustError:
    return TrustError(
        f"{path}: cannot be written ({e.strerror or e}), and the serial number of a bundle is kept there before it is "
        "opened; name a folder that can be written with TLC_TRUST"
    )


@contextlib.contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Keep other processes of this user out, where the system can: two that open bundles at once both count."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(alone(folder / _LOCK))
        except OSError as e:
            raise _unwritable(folder / FILE, e) from None
        yield
