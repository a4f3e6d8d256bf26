"""Which folders are classes and which are splits: a split's folder is never a class.

The rule, of a folder that is given:

1. Folders called like a split (`split_of`) hold classes, and their images have that split. What lies beside them is
   passed over and named, unless there is no train folder and it is called like a class in them: then it trains.
2. Splits further down: in each class (`cat/train`, `cat/test`) they give the split of its images; in the one folder
   that holds all (`data/train/cat`) that folder is read in place of the given one.
3. A split's folder whose images lie directly in it has no classes. It is passed over and named where other folders
   have some; but a train folder beside classes could be meant as one of them, so that is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.images.load import source_name
from tlc_edge.runtime.images.walk import folders_in, holds_images, loose_images

_WORDS = {
    "train": ("train", "training", "trainval"),
    "validation": ("val", "valid", "validation", "validate"),
    "test": ("test", "testing", "holdout", "heldout"),
}
BESIDE = {"dev": "validation", "eval": "test", "evaluation": "test"}
"""Splits only beside one of the others: `dev` may well be a class."""
_FILLERS = ("dataset", "images", "folder", "files", "image", "photos", "samples", "split", "data", "imgs", "img", "set")
_SPLITS = {word: split for split, words in _WORDS.items() for word in words}
_HOLDERS = frozenset({"images", "image", "imgs", "img", "pictures", "photos", "jpegimages"})
_KINDS = _HOLDERS.union(
    ("labels", "label", "masks", "mask", "annotations", "segmentation", "segmentations", "plots"),
    ("segmentationclass", "segmentationobject", "imagesets"),
)
"""Folders that sort files by kind, not images by class, where all that lie together are called so."""


@dataclass(frozen=True)
class ClassFolder:
    """A folder whose images are of one class."""

    path: Path
    split: str | None
    has_splits: bool = False
    """Whether folders in it say the split of their images."""

    def split_of(self, image: Path) -> str | None:
        """Return the split of an image in it."""
        if not self.has_splits:
            return self.split
        return next((s for part in image.relative_to(self.path).parts[:-1] if (s := split_of(part))), self.split)


@dataclass
class Plan:
    """The class folders in a folder, with what was passed over in sentences for people."""

    folders: list[ClassFolder] = field(default_factory=list[ClassFolder])
    notes: list[str] = field(default_factory=list[str])


def split_of(name: str) -> str | None:
    """Return the split that a folder of that name holds: `train`, `validation`, `test`, or None.

    Case, marks and numbers do not count, nor do words such as set, data or images: `Training_Set`, `val2017`.
    """
    words = [word for word in re.split(r"[\W\d_]+", name.casefold()) if word and word not in _FILLERS]
    bare = "".join(words)
    for filler in _FILLERS:
        if bare not in _SPLITS:
            bare = bare.removesuffix(filler)
    return _SPLITS.get(bare)


def plan_folder(root: Path) -> Plan:
    """Return the class folders of a folder.

    Raises:
        DataError: a split's folder could only be taken for a class, or several data sets lie in it.
        OSError: it cannot be listed.
    """
    plan = Plan()
    _plan(root, root, plan)
    return plan


def _plan(folder: Path, root: Path, plan: Plan) -> None:
    tops = folders_in(folder)
    if any(split_of(top.name) for top in tops):
        _plan_splits(folder, tops, root, plan)
    else:
        _plan_classes(tops, root, plan)


def _plan_splits(folder: Path, tops: Sequence[Path], root: Path, plan: Plan) -> None:
    """Take the classes out of the splits' folders."""
    splits = {top: s for top in tops if (s := split_of(top.name) or BESIDE.get(top.name.casefold()))}
    others = [top for top in tops if top not in splits]
    found: list[ClassFolder] = []
    loose: list[tuple[Path, int]] = []
    for top, split in splits.items():
        found += _inside(top, split, root, loose)
    if not found:
        _plan_beside(folder, splits, [top for top in others if holds_images(top)], loose, root, plan)
        return
    if "train" not in {of.split for of in found}:
        names = {of.path.name for of in found}
        found += [ClassFolder(top, None) for top in others if top.name in names]
        others = [top for top in others if top.name not in names]
    if others:
        plan.notes.append(
            f"{_names(others, root)}: beside the folders of a split ({_names(list(splits), root)}); passed over"
        )
    plan.notes += [_without_class(*one, root) for one in loose]
    plan.folders += found


def _plan_beside(
    folder: Path,
    splits: dict[Path, str],
    others: list[Path],
    loose: list[tuple[Path, int]],
    root: Path,
    plan: Plan,
) -> None:
    """Take the classes beside splits' folders that hold none."""
    trains = [path for path, _ in loose if splits.get(path) == "train"]
    if not others and not any(map(holds_images, splits)):
        return
    if not others or (trains and not _holds_all(others)):
        what = _names([path for path, _ in loose] or list(splits), root)
        if others:
            raise DataError(
                f"{folder}: the images in {what} have no class: the name is that of a split's folder, which is never a "
                f"class, and it lies beside {_names(others, root)}; rename it if it is a class, or list the images in "
                "a .csv with path,label,split"
            )
        raise DataError(
            f"{folder}: the images in {what} have no class: the name is that of a split's folder; make one folder per "
            "class in it, or list the images in a .csv with path,label,split"
        )
    plan.notes += [_without_class(*one, root) for one in loose]
    if _holds_all(others):
        _plan(others[0], root, plan)
    else:
        _plan_classes(others, root, plan)


def _holds_all(others: list[Path]) -> bool:
    """Whether what lies beside a split's folder is one folder that holds the classes."""
    return len(others) == 1 and sum(map(holds_images, folders_in(others[0]))) > 1


def _inside(folder: Path, split: str, root: Path, loose: list[tuple[Path, int]]) -> list[ClassFolder]:
    """Return the class folders in a split's folder; what lies in it without a class is added to `loose`."""
    children = folders_in(folder)
    full = [child for child in children if holds_images(child)]
    if full and all(child.name.casefold() in _KINDS for child in full):
        children = [child for child in full if child.name.casefold() in _HOLDERS]
        if len(children) == 1:
            return _inside(children[0], split, root, loose)
        full = []
    if images := loose_images(folder):
        loose.append((folder, len(images)))
    found: list[ClassFolder] = []
    for child in children:
        deeper = split_of(child.name)
        if deeper is None:
            found.append(ClassFolder(child, split))
        elif deeper == split or split == "train":
            found += _inside(child, deeper, root, loose)
        elif child in full:
            raise DataError(
                f"{root}: {_names([child], root)} is the {deeper} split within the {split} split; say in a .csv with "
                "path,label,split what its images are for"
            )
    # Empty ones are told as class folders without images, but not where nothing in here has a class.
    return found if full else []


def _plan_classes(tops: list[Path], root: Path, plan: Plan) -> None:
    """Take the folders as classes, but for those that only hold the folders of a split."""
    full = [top for top in tops if holds_images(top)]
    kinds = [top for top in full if top.name.casefold() in _KINDS]
    if len(kinds) == len(full) and (images := [top for top in kinds if top.name.casefold() in _HOLDERS]):
        if len(full) > 1 and len(images) == 1:
            plan.notes.append(f"{_names([top for top in full if top not in images], root)}: no classes; passed over")
            full = images
        if len(full) == 1:
            if not any(map(holds_images, folders_in(images[0]))):
                raise DataError(
                    f"{root}: the images in {_names(images, root)} have no class: such a folder says what lies in it, "
                    "not what it shows; make one folder per class in it, or list the images in a .csv with path,label"
                )
            _plan(images[0], root, plan)
            return
    levels = {top: list(_levels(top)) for top in full}
    holders = [top for top in full if levels[top]]
    if len(full) == 1 and holders:
        _plan(full[0], root, plan)
        return
    sorted_inside = [top for top in holders if any(map(_has_classes, levels[top]))]
    if len(sorted_inside) > 1:
        raise DataError(
            f"{root}: {_names(sorted_inside, root)} each hold the folders of a split, with classes in them: several "
            "data sets; give one of them"
        )
    if sorted_inside:
        if others := [top for top in tops if top not in sorted_inside]:
            names = _names(sorted_inside, root)
            plan.notes.append(
                f"{_names(others, root)}: beside {names}, which holds the folders of a split; passed over"
            )
        _plan(sorted_inside[0], root, plan)
        return
    if holders:
        plan.notes.append(f"{_names(holders, root)}: folders called like a split in it give the split of their images")
    plan.notes += _crossed(full, root)
    plan.folders += [ClassFolder(top, None, top in holders) for top in tops]


def _crossed(full: list[Path], root: Path) -> list[str]:
    """Return a warning where all folders hold the same ones: these may be the classes, and those folds or splits."""
    inner = [{of.name for of in folders_in(top) if not split_of(of.name)} for top in full]
    if len(full) < 2 or len(inner[0]) < 2 or any(of != inner[0] for of in inner) or any(map(loose_images, full)):
        return []
    within = ", ".join(sorted(map(source_name, inner[0]))[:8])
    return [
        f"{_names(full, root)}: each holds the same folders, {within}; taken as {len(full)} classes: if those in them "
        "are the classes, give one of them, or list the images in a .csv with path,label,split"
    ]


def _levels(folder: Path) -> Iterator[Path]:
    """Yield the folders nearest to this one that hold folders of a split with images; below them it does not look."""
    seen = {folder.resolve()}
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        inner = folders_in(here)
        if any(split_of(path.name) and holds_images(path) for path in inner):
            yield here
            continue
        fresh = {real: path for path in inner if (real := path.resolve()) not in seen}
        seen |= set(fresh)
        waiting += [path for real, path in fresh.items() if not folder.resolve().is_relative_to(real)]


def _has_classes(level: Path) -> bool:
    """Whether the splits' folders in a folder hold folders with images, and not only images."""
    splits = [path for path in folders_in(level) if split_of(path.name)]
    return any(holds_images(inner) for split in splits for inner in folders_in(split))


def _without_class(folder: Path, count: int, root: Path) -> str:
    images = "1 image lies" if count == 1 else f"{count} images lie"
    return f"{_names([folder], root)}: {images} directly in the folder of a split, without a class; passed over"


def _names(paths: Sequence[Path], root: Path) -> str:
    names = [source_name(path.relative_to(root).as_posix()) for path in paths]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
