"""Pascal VOC's boxes: an XML file for each image, in `Annotations/` or beside it; `ImageSets/Main` has the split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tlc_edge.compiler.data.forms.boxes import Box
from tlc_edge.compiler.data.forms.split_folders import split_of

from .found import Found, as_written_by, has_classes, lists_in, read_xml

NAME = "Pascal VOC's annotations of boxes"


def find(path: Path) -> Found | None:
    """Return the annotations at a path."""
    if not path.is_dir():
        return None
    files = tuple(sorted(path.glob("Annotations/*.xml")) or sorted(path.glob("annotations/*.xml")))
    if not files and not has_classes(path):
        files = lists_in(path, "*.xml")
    return Found(path, files, "jpegimages") if files and read_xml(files[0]).tag == "annotation" else None


def rows(found: Found) -> Iterator[Box]:
    """Yield the boxes.

    Raises:
        DataError: it is damaged.
    """
    splits = dict(_splits(found.root))
    for file in found.files:
        document = read_xml(file)
        # Beside its image in a split's folder, or apart from it, where only the name says which image it is.
        beside = file.parent.relative_to(found.root) if split_of(file.parent.name) else Path()
        split = split_of(file.parent.name) or splits.get(file.stem)
        with as_written_by("Pascal VOC", file):
            name = document.findtext("filename") or file.stem
            for thing in document.findall("object"):
                edges = [float(thing.findtext(f"bndbox/{edge}") or "") for edge in ("xmin", "ymin", "xmax", "ymax")]
                label = (thing.findtext("name") or "").strip()
                yield Box((beside / name).as_posix(), label, edges[0], edges[1], edges[2], edges[3], split)


def _splits(root: Path) -> Iterator[tuple[str, str]]:
    for name, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        file = root / "ImageSets" / "Main" / f"{name}.txt"
        if file.is_file():
            yield from (
                (line.split()[0], split) for line in file.read_text("utf-8", "replace").splitlines() if line.split()
            )
