"""What a build is asked for: plain values, and the checks that need nothing else. Nothing heavy is imported here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tlc_edge.runtime.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from tlc_edge.runtime.signing.secret_key import SecretKey

DEFAULT = "efficientnet-lite0"
PER_CLASS = 15
POOLS = ("avg", "max", "flatten")
"""How a feature map becomes a vector."""
PIXEL_RANGES: tuple[str, ...] = ("-1..1", "0..1", "0..255", "imagenet", "caffe", "clip")
"""What a network can have been trained on; `network/pixels.py` has what each means."""
AUGMENTATIONS = ("mirror", "rotate", "crop", "colour", "resize-filter")
"""Kinds of augmentation, in the order in which they are applied."""
DEFAULT_AUGMENT = ("resize-filter",)
SEEDS = 2**32
"""Seeds run from 0 up to, not including, this: numpy takes no lower ones, scikit-learn no higher ones."""


@dataclass(frozen=True)
class Asked:
    """How a backbone is to be loaded; what is None is left to the backbone."""

    weights: str | None = None
    """A file with its weights, or the path of a TensorFlow checkpoint without its suffix."""
    input_size: tuple[int, int] | None = None
    """Height and width."""
    alpha: float | None = None
    """Width multiplier of the networks that come in several widths."""
    pixels: str | None = None
    """What the network was trained on: one of `PIXEL_RANGES`."""
    restore: tuple[str, ...] = ()
    """Patterns of the layers to restore from a checkpoint; none: all."""


@dataclass(frozen=True)
class FineTune:
    """How a trunk is to be fine-tuned."""

    layers: str = "auto"
    """A number of last layers, a pattern of names, or `auto`: by the amount of data."""
    epochs: int = 20
    learning_rate: float = 3e-4
    checkpoints: Path | None = None
    """Folder that gets the state after each epoch; None: beside the output, until the bundle is written."""
    resume: bool = False
    """Go on from the last state in that folder."""
    logdir: Path | None = None
    """Folder for TensorBoard."""


@dataclass(frozen=True)
class Options:
    """What a build is asked for."""

    data: str
    """Folder, `.csv`, `.npz`, archive, gallery, address or `sample:digits`; see `Origin`."""
    targets: tuple[str, ...]
    output: Path
    backbone: str = DEFAULT
    asked: Asked = field(default_factory=Asked)
    """How the backbone is to be loaded."""
    shave: str | None = None
    pool: str = POOLS[0]
    head: str = "linear"
    """One of `tlc_edge.compiler.train.heads.HEADS` by name, or the path of a Keras file."""
    augment: tuple[str, ...] = DEFAULT_AUGMENT
    """Kinds of `AUGMENTATIONS` that change the copies of training images."""
    copies: int = 1
    """Augmented copies of each training image."""
    formats: tuple[str, ...] = ()
    """Of the targets' files, those to build: `tflite`, `onnx`; empty: all."""
    scheme: str | None = None
    """For the TFLite file, in place of the target's own."""
    onnx_scheme: str | None = None
    """The same for the ONNX file."""
    seed: int = 0
    max_drop: float = 2.0
    """Points of accuracy that a file may lose against the float graph."""
    ladder: bool = True
    """Where a file loses more, make it in other ways until one is good enough; else fail."""
    min_accuracy: float | None = None
    """Share of held-out images that each file must answer right; else nothing is written."""
    min_class_recall: float | None = None
    """The same of the images of each class."""
    sure: bool = False
    """Judge both by the lower end of the 95 % interval."""
    unknown_rate: float = 0.05
    """False-alarm rate that `unknown` is calibrated to."""
    unknown_data: str | None = None
    """Images of anything else, to count false accepts on; without them each class is held out in turn."""
    exemplars: int = PER_CLASS
    """Training images of each class whose embeddings travel with the bundle."""
    calibration: int = 100
    """Images that set the int8 ranges."""
    limit: int | None = None
    """Images to use at most, spread over the classes."""
    fine_tune: FineTune | None = None
    strict: bool = False
    """Fail where a file would be skipped."""
    force: bool = False
    """Replace an existing bundle."""
    threads: int = 0
    """0: one per core."""
    labels: str | None = None
    """The labels of a pixel table; with the head `own`, those of the network, one on each line in its order."""
    shape: str | None = None
    """The shape of a pixel table's images, `H,W` or `H,W,C`."""
    checksum: str | None = None
    """`sha256:…` of what an address gives."""
    encoding: str | None = None
    """Of names in an archive, or of a `.csv`, that are not UTF-8."""
    crop: str | None = None
    """`boxes`: make an image of each box where photos have boxes."""
    more: tuple[str, ...] = ()
    """Further sources of the same data set, read after `data`."""
    features: str | None = None
    """A store with the features of the images, of `tlc features`; in the place of `data`, or what `cluster` fills."""
    cluster: str | None = None
    """`auto`, `ray://HOST:PORT` or an address that Ray knows: the machines that featurize."""
    shards: int = 0
    """Of a plan made for a cluster; 0: its own default."""
    cache: str | None = None
    """Folder of the feature cache, `off`, or None for the user's own."""
    thumbnails: bool = True
    """Show a few of the images in the report, which is part of the bundle."""
    sign: SecretKey | None = None
    """The key to sign with."""
    site: Path | None = None
    """Folder for a site around the bundle, which any host can serve; `output` is the bundle all the same."""
    vendor: Path | None = None
    """Folder with the libraries of a site, as `npm pack` makes them; None gets them through npm."""


def parse_augment(text: str) -> tuple[str, ...]:
    """Return the kinds that an option names, in the order in which they are applied.

    Raises:
        UsageError: one is not known.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["none"]:
        return ()
    for name in names:
        if name not in AUGMENTATIONS:
            raise unknown_name("augmentation", name, (*AUGMENTATIONS, "none"))
    if not names:
        raise UsageError("--augment is empty; name some of " + ", ".join(AUGMENTATIONS) + ", or none")
    return tuple(kind for kind in AUGMENTATIONS if kind in names)


def check_numbers(options: Options) -> None:
    """Check the numbers in a build's options that nothing else checks.

    Raises:
        UsageError: one is not a number, or out of its range.
    """
    check_seed(options.seed)
    if not 0 <= options.max_drop <= 100:  # not a number fails this too
        raise UsageError(f"max_drop is {options.max_drop}, expected 0 to 100 points of accuracy")
    if options.copies < 0:
        raise UsageError(f"copies is {options.copies}, expected 0 or more changed copies of each image")
    if options.copies > 1 and not options.augment:
        raise UsageError(f"copies is {options.copies}, but augment names nothing that changes them; give it too")
    tuning = options.fine_tune
    if tuning is None:
        return
    if tuning.epochs < 1:
        raise UsageError(f"epochs is {tuning.epochs}, expected 1 or more")
    if not (math.isfinite(tuning.learning_rate) and tuning.learning_rate > 0):
        raise UsageError(f"learning_rate is {tuning.learning_rate}, expected a number above 0, such as 3e-4")


def check_seed(seed: int) -> None:
    """Check a seed.

    Raises:
        UsageError: it is out of its range.
    """
    if not 0 <= seed < SEEDS:
        raise UsageError(f"the seed is {seed}, expected a whole number from 0 to {SEEDS - 1}")
