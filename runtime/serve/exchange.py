"""Whole galleries, out of a server and into it, by way of a file of their own."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from tlc_edge.runtime.errors import GalleryError, UsageError
from tlc_edge.runtime.gallery.conflicts import CONFLICTS
from tlc_edge.runtime.gallery.merge import Merged, import_file
from tlc_edge.runtime.gallery.transfer import export

from .asked import Call
from .workers import Workers

_PREFIX = ".tlc-serve-"
_TYPE = "application/vnd.sqlite3"


async def export_gallery(asked: Call, workers: Workers) -> Response:
    """Answer with what is enrolled, as one file that any tlc takes.

    Raises:
        GalleryError: nothing is, or it cannot be written.
    """

    def work() -> Path:
        with asked.served.own_gallery() as gallery:
            if gallery is None:
                raise GalleryError("nothing is enrolled yet, so there is nothing to export")
            folder = _folder(gallery.path)
            try:
                with _under_names(folder, "the export"):
                    export(gallery, folder / "tlc.gallery")
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return folder

    folder = await workers.run(asked.client.key, work)
    return FileResponse(
        folder / "tlc.gallery",
        headers={"cache-control": "no-store"},
        media_type=_TYPE,
        filename=f"{asked.served.name}.gallery",
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )


async def import_gallery(asked: Call, workers: Workers) -> Merged:
    """Add the examples of a gallery that is the request's body, as one operation that undo takes back.

    Raises:
        UsageError: there is no body, or no such rule for conflicts.
        GalleryError: it is no gallery, or the own one cannot be written.
    """
    asked.knows("conflicts")
    conflicts = asked.given("conflicts")
    if conflicts is None:
        conflicts = "first"
    if conflicts not in CONFLICTS:
        raise UsageError(f"conflicts is {conflicts[:20]!r}, expected one of {', '.join(CONFLICTS)}")
    classifier = asked.served.classifier
    asked.request.scope["tlc.body"].is_kept = False
    folder = await run_in_threadpool(_folder, classifier.gallery_path)
    try:
        file = folder / "import.gallery"
        size = await _receive(asked, file)
        if not size:
            raise UsageError("no gallery in the request; send the file as its body")

        def work() -> Merged:
            with _under_names(folder, "what was sent"):
                return import_file(classifier.bundle, file, classifier.gallery_path, conflicts)

        return await workers.run(asked.client.key, work)
    finally:
        await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)


def clear_leftovers(gallery: Path) -> None:
    """Remove what a server that was killed left beside a gallery."""
    with contextlib.suppress(OSError):
        for folder in gallery.absolute().parent.glob(f"{_PREFIX}*"):
            shutil.rmtree(folder, ignore_errors=True)


async def _receive(asked: Call, file: Path) -> int:
    """Write a request's body to a file; return its size in bytes.

    Raises:
        GalleryError: it cannot be written.
    """
    try:
        with file.open("xb") as out:
            async for piece in asked.request.stream():
                await run_in_threadpool(out.write, piece)
            return out.tell()
    except OSError as e:
        raise GalleryError(f"what was sent cannot be kept ({e.strerror or e}), so nothing was changed") from None


@contextlib.contextmanager
def _under_names(folder: Path, name: str) -> Generator[None]:
    """Call the file of a folder by a name that says something to who asked."""
    try:
        yield
    except GalleryError as e:
        raise type(e)(re.sub(rf"{re.escape(str(folder))}/\S+?:", f"{name}:", str(e))) from None


def _folder(gallery: Path) -> Path:
    """Make a folder for one file, on the gallery's own disk and for its owner alone."""
    try:
        return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=gallery.absolute().parent))
    except OSError as e:
        raise GalleryError(f"{gallery}: no file can be written beside it ({e.strerror or e})") from None
