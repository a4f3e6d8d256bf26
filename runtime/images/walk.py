"""Walk folders of images: what counts as one, and what systems leave behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

# By name, not by content, so that the notes lying beside the images are passed over in silence.
_READ = (
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm"),
    *(".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
)
# Images to people, but not to every Pillow: they are reported as skipped, not passed over.
_REPORTED = (
    *(".arw", ".cr2", ".cr3", ".dng", ".exr", ".heic", ".heif", ".hif", ".jxl", ".nef", ".orf", ".psd"),
    *(".raf", ".rw2", ".svg"),
)
_SUFFIXES = frozenset((*_READ, *_REPORTED))
_JUNK = frozenset(
    (
        *("__MACOSX", "__pycache__", "@eaDir", "#recycle", "@Recycle", "#snapshot", "$RECYCLE.BIN"),
        *("System Volume Information", "lost+found", "LOST.DIR"),
    )
)


def is_image(name: str) -> bool:
    """Whether a file of that name is meant to be an image."""
    return Path(name).suffix.lower() in _SUFFIXES


def is_junk(parts: Sequence[str]) -> bool:
    """Whether a path leads through what systems leave behind."""
    return any(part.startswith(".") or part in _JUNK for part in parts)


def listed(folder: Path) -> list[Path]:
    """Return what is in a folder, in order, without what systems leave behind.

    Raises:
        OSError: the folder cannot be listed.
    """
    return sorted(p for p in folder.iterdir() if not is_junk([p.name]))


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, in order.

    Raises:
        OSError: as in `listed`.
    """
    return [path for path in listed(folder) if path.is_dir()]


def loose_images(folder: Path) -> list[Path]:
    """Return the images that lie directly in a folder, in order.

    Raises:
        OSError: as in `listed`.
    """
    return [path for path in listed(folder) if is_image(path.name) and not path.is_dir()]


def walk(folder: Path, root: Path | None = None) -> Iterator[tuple[Path, str | None]]:
    """Yield the images in a folder and below, each with what is wrong with it, if anything.

    Links to folders are followed, but never twice to the same one, nor to one that holds `root`.
    """
    return _walk(folder, (root or folder).resolve(), {folder.resolve()})


def _walk(folder: Path, root: Path, seen: set[Path]) -> Iterator[tuple[Path, str | None]]:
    try:
        paths = listed(folder)
    except OSError as e:
        yield folder, f"cannot be listed ({e.strerror})"
        return
    for path in paths:
        if path.is_dir():
            real = path.resolve()
            if real not in seen and not root.is_relative_to(real):
                seen.add(real)
                yield from _walk(path, root, seen)
        elif is_image(path.name):
            yield path, None if path.is_file() else "a broken link, or not a regular file"


def holds_images(folder: Path) -> bool:
    """Whether there is an image in a folder or below."""
    return next(walk(folder), None) is not None


def images_below(root: Path) -> list[Path]:
    """Return every image in a folder and below that can be opened, in order.

    Raises:
        OSError: the folder cannot be listed.
    """
    return [path for path, problem in walk(root) if problem is None]
