"""The self-test before the first answer, once; what has passed here before is told by a mark, and loads no more."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tlc_edge.runtime.bundle.bundle import CARD, EXPECTED, MANIFEST, Bundle
from tlc_edge.runtime.bundle.manifest import ModelFile
from tlc_edge.runtime.errors import SelftestError
from tlc_edge.runtime.files import is_own, write_file

from .engine import Engine
from .versions import version_of


def selftest_once(bundle: Bundle, engine: Engine, model: ModelFile) -> None:
    """Run the self-test unless it has passed here before with this model, engine, Pillow and tlc.

    Raises:
        SelftestError: images are prepared, or answered by the model, otherwise than where it was built.
    """
    mark, says = _mark(bundle, engine, model)
    if mark is not None and is_own(mark.parent) and is_own(mark) and _says(mark, says):
        return
    from .selftest import failure, selftest

    result = selftest(bundle, engine, model)
    if not result.passed:
        raise SelftestError(failure(bundle, result))
    if mark is not None:
        try:
            mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if is_own(mark.parent):
                write_file(mark, says, private=True)  # takes the place of whatever lies there, and follows nothing
        except OSError:
            pass  # it only costs the same moment again next time


def _says(mark: Path, says: bytes) -> bool:
    try:
        with mark.open("rb") as file:
            return file.read(len(says) + 1) == says
    except OSError:
        return False


def _mark(bundle: Bundle, engine: Engine, model: ModelFile) -> tuple[Path | None, bytes]:
    """Return the file that says that this has passed here, None where there is no home; and what stands in it.

    It is of all that the outcome depends on: the manifest, and so each file of the bundle, engine, Pillow, tlc, Python.
    A file of this user's that got the name, by a link say, says something else.
    """
    import hashlib

    what = "\n".join(
        (
            hashlib.sha256(bundle.files.get(MANIFEST, b"")).hexdigest(),
            bundle.manifest.files[model.file],
            bundle.manifest.files.get(EXPECTED, ""),
            bundle.manifest.files.get(CARD, ""),
            engine.name,
            engine.version,
            version_of("Pillow"),
            version_of("tlc-edge"),
            sys.version,
        )
    )
    digest = hashlib.sha256(what.encode()).hexdigest()
    says = f"passed {digest}\n".encode()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        home = Path(base).expanduser()
    except RuntimeError:
        return None, says
    return home / "tlc" / "selftest" / digest[:32], says
