"""Show what a gallery holds: its thumbnails as files, or all on one page that needs no others."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from tlc_edge.runtime.errors import GalleryError
from tlc_edge.runtime.files import write_file

from .gallery import Gallery

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; background: Canvas; color: CanvasText }
html { color-scheme: light dark }
h2 { margin: 1.5em 0 .5em }
h2 small { font-weight: normal; opacity: .7 }
figure { display: inline-block; width: 128px; margin: 0 8px 8px 0; vertical-align: top }
figcaption { font-size: 11px; overflow-wrap: anywhere }
img, .none { width: 128px; height: 128px; object-fit: contain; background: #8883; display: block }
"""


def write_thumbnails(gallery: Gallery, folder: Path) -> int:
    """Write each thumbnail as `<folder>/<class>/<id>.jpg`, for their owner's eyes alone; return how many.

    Raises:
        GalleryError: a file cannot be written or read.
    """
    written = 0
    for example in gallery.examples():
        jpeg = gallery.thumbnail(example.id)
        if jpeg is not None:
            _make(folder)
            _make(folder / _folder_name(example.label))
            _write(folder / _folder_name(example.label) / f"{example.id}.jpg", jpeg)
            written += 1
    return written


def write_sheet(gallery: Gallery, path: Path) -> int:
    """Write one HTML page with every class and every example; return how many have a thumbnail.

    Raises:
        GalleryError: the file cannot be written, or the gallery not be read.
    """
    pictures = 0
    name = html.escape(gallery.path.name)
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>{_STYLE}</style>',
        f"<h1>{name}</h1>",
    ]
    for label, count in gallery.classes().items():
        parts.append(f"<h2>{html.escape(label)} <small>{count} example{'' if count == 1 else 's'}</small></h2>")
        for example in gallery.examples(label):
            jpeg = gallery.thumbnail(example.id)
            pictures += jpeg is not None
            several = f" and {example.stands_for - 1} more" if example.stands_for > 1 else ""
            parts.append(
                _figure(f"#{example.id} {example.source_name}{several}", jpeg, f"{example.at}  {example.sha256}")
            )
    _write(path, "\n".join([*parts, "</html>\n"]).encode())
    return pictures


def write_neighbours(path: Path, asked: bytes, answer: str, near: Sequence[tuple[str, bytes | None]]) -> None:
    """Write one HTML page with an image and, beside it, the stored examples nearest to it.

    Args:
        path: where.
        asked: a JPEG of the image.
        answer: what was answered.
        near: for each example, best first, a caption and its JPEG, None where there is none.

    Raises:
        GalleryError: the file cannot be written.
    """
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(answer)}</title>'
        f"<style>{_STYLE}</style>",
        f"<h1>{html.escape(answer)}</h1>",
        _figure("the image, as the model sees it", asked, ""),
        "<h2>nearest stored examples</h2>",
        *(_figure(caption, jpeg, "") for caption, jpeg in near),
    ]
    _write(path, "\n".join([*parts, "</html>\n"]).encode())


def _figure(caption: str, jpeg: bytes | None, title: str) -> str:
    image = '<div class="none"></div>'
    if jpeg is not None:
        image = f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'
    escaped = html.escape(caption)
    return f'<figure title="{html.escape(title)}">{image}<figcaption>{escaped}</figcaption></figure>'


def _folder_name(label: str) -> str:
    name = quote(label, safe=" ,;+=@()[]{}!'&")
    return name.replace(".", "%2E") if set(name) == {"."} else name[:200]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise GalleryError(f"{folder}: cannot be written ({e.strerror or e})") from None


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data, private=True)
    except OSError as e:
        raise GalleryError(f"{path}: cannot be written ({e.strerror or e})") from None
