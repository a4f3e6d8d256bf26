"""The heads: one row per kind, each made by a module of its own, most of them trained on cached features.

Features come as views: the same images as seen by the float trunk and by the trunk as the device runs
it. A head trained on both learns to pass over the quantization error.

Every class counts the same, however many images it has: how often a thing was photographed tells nothing of
how often the device will meet it. And the last layer of every head that is trained here is divided by a temperature,
so that 0.9 means right nine times in ten.

Nothing heavy is imported here: the command line reads the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tlc_edge.runtime.errors import UsageError, unknown_name
from tlc_edge.runtime.progress import Count, silent

from .training import Training, Whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tlc_edge.compiler.records import Floats, Head, OwnHead


@dataclass(frozen=True)
class HeadKind:
    """A kind of head."""

    name: str
    """What `--head` says; for files, the form of their names."""
    help: str
    """What it is, in a few words."""
    make: Callable[[Training], Head]
    """Makes it; raises a BuildError where it does not fit the trunk or the data."""
    suffixes: tuple[str, ...] = ()
    """Of the files that it comes from, in lower case; without any it has no file."""
    keras: bool = False
    """Whether it is made in Keras."""

    of_network: bool = False
    """It came with the backbone, which says where it is cut and what the classes are."""

    @property
    def trained(self) -> bool:
        """Whether it is made from the features of any trunk."""
        return not self.suffixes and not self.of_network

    def claims(self, name: str) -> bool:
        """Return whether `--head` means this one."""
        return name.lower().endswith(self.suffixes) if self.suffixes else name == self.name


def _linear(given: Training) -> Head:
    from .linear import make

    return make(given)


def _mlp(given: Training) -> Head:
    from .mlp import make

    return make(given)


def _prototype(given: Training) -> Head:
    from .prototype import make

    return make(given)


def _none(given: Training) -> Head:
    from .no_head import make

    return make(given)


def _own(given: Training) -> Head:
    from .own import make

    return make(given)


def _file(given: Training) -> Head:
    from .head_file import make

    return make(given)


HEADS: tuple[HeadKind, ...] = (
    HeadKind("linear", "logistic regression", _linear),
    HeadKind("mlp", "one hidden layer", _mlp),
    HeadKind("prototype", "class means", _prototype),
    HeadKind("own", "the network's own classifier, as it is", _own, of_network=True),
    HeadKind("none", "every class is enrolled on the device", _none),
    HeadKind("FILE.keras", "trained elsewhere", _file, (".keras", ".h5", ".hdf5"), keras=True),
)
"""Every kind, in the order in which they are listed."""


def head_help() -> str:
    """Return what `--head` can be, for people."""
    listed = [f"{kind.name} ({kind.help})" for kind in HEADS]
    return f"{', '.join(listed[:-1])} or {listed[-1]}"


def check_head(name: str) -> HeadKind:
    """Return the kind of head that is asked for, before anything is loaded.

    Raises:
        UsageError: there is no such kind, or no such file.
    """
    found = next((kind for kind in HEADS if kind.claims(name)), None)
    if found is None:
        raise unknown_name("head", name, [kind.name for kind in HEADS])
    if found.suffixes and not Path(name).is_file():
        raise UsageError(f"--head {name}: no such file")
    return found


def check_fit(name: str, width: int, labels: Sequence[str]) -> None:
    """Check a head that comes from a file against a trunk of `width` features and the labels, before the work.

    Raises:
        BuildError: it does not fit.
    """
    if check_head(name).suffixes:
        from .head_file import load_head

        load_head(name, width, tuple(labels))


def train_head(
    name: str,
    views: Sequence[Floats],
    targets: NDArray[np.int64],
    labels: Sequence[str],
    seed: int,
    progress: Count = silent,
    own: OwnHead | str = "there is none",
    whole: Whole | None = None,
) -> Head:
    """Train the head that is asked for, or load it.

    Args:
        name: of one of `HEADS`, or a file.
        views: features of the same N images, [N, F] each; the last is what the device sees.
        targets: class indices, [N]; every class occurs.
        labels: the names of the classes.
        seed: equal seeds give equal heads.
        progress: told how far it is.
        own: the classifier that came with the backbone, or why there is none.
        whole: all images, where `views` and `targets` are of some of them; a linear head is trained on these.

    Raises:
        UsageError: there is no such kind.
        BuildError: a head from a file does not fit.
    """
    return check_head(name).make(Training(name, views, targets, tuple(labels), seed, progress, own, whole))
