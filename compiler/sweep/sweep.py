"""Sweep: what a cut higher or lower, or another backbone, costs and gives, before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.backbones.cuts import Cut, cuts_of
from tlc_edge.compiler.backbones.find import find_backbone, formats_of, load_backbone
from tlc_edge.compiler.backbones.known import Wanted, find_trunk, find_words, keep_trunk, keep_words
from tlc_edge.compiler.backbones.shave import cannot_cut, shave
from tlc_edge.compiler.cache.folder import caching
from tlc_edge.compiler.data.calibration_set import choose_calibration
from tlc_edge.compiler.data.decode import images_of
from tlc_edge.compiler.data.duplicates import find_groups
from tlc_edge.compiler.data.load import Origin, load_dataset
from tlc_edge.compiler.data.prepared import number_classes, split_samples
from tlc_edge.compiler.data.records import Dataset, Sample
from tlc_edge.compiler.features.featurize import Featurized, featurize, trunk_file
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.lower.file_kinds import file_kinds
from tlc_edge.compiler.network.facts import facts_of, of_onnx
from tlc_edge.compiler.network.layers import macs, nodes
from tlc_edge.compiler.options import DEFAULT, POOLS, Asked, check_seed
from tlc_edge.compiler.records import Backbone, Head, Trunk
from tlc_edge.compiler.steps import Progress, Steps, no_progress
from tlc_edge.compiler.study.cuts import cross_validate
from tlc_edge.compiler.toolchain import load_tensorflow, require_toolchain
from tlc_edge.compiler.train.heads import train_head
from tlc_edge.compiler.verify.statistics import wilson
from tlc_edge.compiler.verify.timing import RUNS, median_milliseconds
from tlc_edge.runtime.engines.open import open_model
from tlc_edge.runtime.errors import BuildError, EngineError, TlcError, UsageError
from tlc_edge.targets import Target, load_target

# Shares of the work up to the default cut at which another cut is tried.
_SHARES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class SweepOptions:
    """What a sweep is asked for."""

    data: str
    target: str
    backbones: tuple[str, ...] = (DEFAULT,)
    asked: Asked = field(default_factory=Asked)
    layers: tuple[str, ...] = ()
    """Where to cut; none: the default and a few before it."""
    pool: str = "avg"
    scheme: str | None = None
    seed: int = 0
    limit: int | None = None
    strict: bool = False
    threads: int = 0
    labels: str | None = None
    shape: str | None = None
    checksum: str | None = None
    cache: str | None = None
    encoding: str | None = None
    crop: str | None = None
    more: tuple[str, ...] = ()
    """Further sources of the same data set, read after `data`."""

    @property
    def origin(self) -> Origin:
        """Where its data are."""
        return Origin(
            self.data, self.labels, self.shape, self.checksum, self.cache, self.encoding, self.crop, self.more
        )


@dataclass(frozen=True)
class SweepRow:
    """One cut of one backbone."""

    backbone: str
    layer: str
    features: int
    """Width of what the head reads; the embedding's without a neck."""
    parameters: int
    macs: int | None
    """Multiply-accumulates for one image; None where they cannot be counted."""
    accuracy: float
    """Of a linear head on the float features of the validation images."""
    bytes: int
    """Of the trunk in the target's scheme."""
    milliseconds: float
    """Median of a run of that trunk on this machine, one image."""
    pareto: bool = False
    """No other row is at least as accurate, as small and as fast, and better in one of these."""
    pool: str = "avg"
    """How its feature map becomes a vector; `none` where it is one."""
    cross_validated: float | None = None
    """Accuracy of such heads on training and validation images, each judged by one that was trained without it; None
    where a class has too few images. Rows are compared by it."""
    interval: tuple[float, float] | None = None
    """95 % Wilson interval of that."""

    @property
    def judged(self) -> float:
        """The accuracy that rows are compared by."""
        return self.accuracy if self.cross_validated is None else self.cross_validated


@dataclass(frozen=True)
class Failed:
    """A cut that could not be measured."""

    backbone: str
    layer: str
    reason: str


@dataclass(frozen=True, eq=False)
class Sweep:
    """What a sweep found."""

    rows: tuple[SweepRow, ...]
    validation: int
    """Images that the accuracy was measured on."""
    cached: int
    """Features that came out of the cache, in images, over all rows."""
    notes: tuple[str, ...]
    seconds: dict[str, float]
    failed: tuple[Failed, ...] = ()
    """Cuts that could not be measured: an engine refused the trunk, say."""
    stopped: str | None = None
    """Why there are no more rows; None where all cuts were tried."""


def sweep(options: SweepOptions, progress: Progress = no_progress) -> Sweep:
    """Try a handful of cuts of each backbone; nothing is written but the cache.

    What is measured stays: a cut that fails is named beside the others, and Ctrl-C ends the sweep with what there is.

    Raises:
        TlcError: with a note that names the step; a cut's only where none could be measured.
    """
    step = Steps(progress)
    with step("load data") as report:
        check_seed(options.seed)
        target = load_target(options.target)
        formats = [formats_of(find_backbone(name, options.asked)) for name in options.backbones]
        for of_backbone in formats:
            file_kinds(target, options.scheme, onnx_only=of_backbone == ("onnx",))
        in_keras = dict(zip(options.backbones, ("tflite" in of_backbone for of_backbone in formats), strict=True))
        require_toolchain(keras=any(in_keras.values()))
        dataset = load_dataset(options.origin, strict=options.strict, limit=options.limit, progress=report)
    with step("load TensorFlow"):
        wanted = {name: Wanted(find_backbone(name, options.asked), name, options.asked) for name in options.backbones}
        known = {name: find_trunks(wanted[name], options) if in_keras[name] else None for name in options.backbones}
        if any(in_keras[name] and known[name] is None for name in options.backbones):
            load_tensorflow()
    notes = list(dataset.notes)
    trunks: list[Trunk] = []
    for name in options.backbones:  # all before the first row: a mistake in the last name must not cost the rows before
        with step(f"load {name}"):
            found_trunks = known[name]
            cut_here = load_trunks(wanted[name], options) if found_trunks is None else found_trunks
            notes += cut_here[0].backbone.notes
            trunks += cut_here
    rows: list[SweepRow] = []
    failed: list[Failed] = []
    errors: list[TlcError] = []
    stopped: str | None = None
    validation = cached = 0
    try:
        for trunk in trunks:
            try:
                with step(_title(trunk)) as report, caching(options.cache) as cache:
                    spec = trunk.backbone.input.preprocessing
                    files = TrunkFiles(trunk, options.cache)
                    found = featurize(files.as_float(), dataset.samples, spec, options.threads, report, cache=cache)
                    row, validation = _measure(files, found, dataset, target, options)
                    rows.append(row)
                    cached += found.cached
            except (BuildError, EngineError) as e:
                failed.append(Failed(trunk.backbone.name, trunk.layer, str(e)))
                errors.append(e)
    except KeyboardInterrupt:
        if not rows:
            raise
        stopped = f"interrupted after {len(rows)} of {len(trunks)} cuts"
    if not rows:
        first = errors[0]
        first.tried = tuple(f"{f.backbone} at {f.layer}: {f.reason}" for f in failed)
        raise first
    seconds, said = dict(step.seconds), tuple(dict.fromkeys(notes))
    return Sweep(mark_pareto(rows), validation, cached, said, seconds, tuple(failed), stopped)


def find_trunks(wanted: Wanted, options: SweepOptions) -> list[Trunk] | None:
    """Return a backbone's trunks where all that are to be tried were cut before; else None."""
    with caching(options.cache) as cache:
        cuts: list[list[str]] | None = find_words(cache, wanted, _words(options))
        found = [find_trunk(cache, wanted, ["cut", *cut]) for cut in cuts or ()]
    trunks = [trunk for trunk in found if trunk is not None]
    return trunks if trunks and len(trunks) == len(found) else None


def load_trunks(wanted: Wanted, options: SweepOptions) -> list[Trunk]:
    """Load a backbone and cut it wherever it is to be tried; what is known of the trunks is kept.

    Raises:
        TlcError: it cannot be loaded, or not be cut where that is asked for.
    """
    backbone = load_backbone(wanted.name, wanted.asked)
    cuts = _cuts(backbone, options)
    trunks = [shave(backbone, cut.layer, cut.pool) for cut in cuts]
    if not of_onnx(trunks[0]):
        with caching(options.cache) as cache:
            for cut, trunk in zip(cuts, trunks, strict=True):
                keep_trunk(cache, wanted, ["cut", cut.layer, cut.pool], trunk)
            keep_words(cache, wanted, _words(options), [[cut.layer, cut.pool] for cut in cuts])
    return trunks


def _words(options: SweepOptions) -> list[object]:
    return ["sweep", _SHARES, options.layers, options.pool]


def _cuts(backbone: Backbone, options: SweepOptions) -> list[Cut]:
    """Return where to cut: as asked, or a few before the default and those that only the data can choose from."""
    if options.layers:
        return [Cut(layer, options.pool) for layer in options.layers]
    found = [Cut(layer, options.pool) for layer in choose_layers(backbone)]
    return list(dict.fromkeys([*found, *(cuts_of(backbone) if options.pool == POOLS[0] else ())]))


def _title(trunk: Trunk) -> str:
    return f"{trunk.backbone.name} at {trunk.layer}{', flattened' if trunk.pool == 'flatten' else ''}"


def choose_layers(backbone: Backbone) -> list[str]:
    """Return a few layers where it makes sense to cut, the first ones first, the default last.

    They lie where a quarter, half and three quarters of the multiplications up to the default are done, each
    at the last layer before the next ones begin: after the activation, and where branches are one again.
    """
    found = nodes(backbone.model)
    shapes = {n.name: n.shape for n in found}
    last = [n.name for n in found].index(backbone.default_shave)
    counts = [macs(n, [shapes[i] for i in n.inputs]) for n in found[: last + 1]]
    if None in counts:  # a graph that is used whole: there is no work to take shares of
        return [backbone.default_shave]
    done = list(accumulate(n or 0 for n in counts))
    chosen: list[str] = []
    for share in _SHARES:
        reached = [
            n.name
            for n, count in zip(found, done, strict=False)
            if count <= share * done[-1] and len(n.shape) == 3 and cannot_cut(n, found[0].name) is None
        ]
        chosen += reached[-1:]
    return list(dict.fromkeys([*chosen, backbone.default_shave]))


def mark_pareto(rows: Sequence[SweepRow]) -> tuple[SweepRow, ...]:
    """Return the rows with those marked that no other row beats."""

    def beats(a: SweepRow, b: SweepRow) -> bool:
        better = (a.judged - b.judged, b.bytes - a.bytes, b.milliseconds - a.milliseconds)
        return min(better) >= 0 and max(better) > 0

    return tuple(replace(row, pareto=not any(beats(other, row) for other in rows)) for row in rows)


def _measure(
    files: TrunkFiles, found: Featurized, dataset: Dataset, target: Target, options: SweepOptions
) -> tuple[SweepRow, int]:
    trunk, samples = files.trunk, found.samples
    parts = split_samples(samples, dataset.skipped + found.skipped, options.seed, find_groups(found.thumbnails))
    if not len(parts.validation):
        raise UsageError(f"{options.data}: no validation images, and a sweep is judged on them; give it some")
    labels, classes = number_classes(samples)
    judged = np.sort(np.concatenate([parts.train, parts.validation]))
    counted = cross_validate(
        found.features[judged], classes[judged], find_groups(found.thumbnails)[judged], len(labels), options.seed
    )
    head = train_head("linear", [found.features[parts.train]], classes[parts.train], labels, options.seed)
    answers = _answers(head, found.features[parts.validation])
    pixels = _calibration(samples, classes, parts.train, trunk, options.seed)
    form, scheme = file_kinds(target, options.scheme, onnx_only=files.form == "onnx")[0].trunk
    lowered = files.get(form, scheme, pixels)
    engine = trunk_file(lowered, trunk.width).kind
    opened = open_model(engine, lowered.data, 1, ("features",), file="the trunk")
    row = SweepRow(
        backbone=trunk.backbone.name,
        layer=trunk.layer,
        features=trunk.width,
        parameters=facts_of(trunk).parameters,
        macs=facts_of(trunk).macs,
        accuracy=float(np.mean(answers == classes[parts.validation])),
        bytes=len(lowered.data),
        milliseconds=round(median_milliseconds(opened, pixels), 3),
        pool=trunk.pool,
        cross_validated=None if counted is None else counted[0] / counted[1],
        interval=None if counted is None else wilson(*counted),
    )
    return row, len(parts.validation)


def _calibration(
    samples: Sequence[Sample], classes: NDArray[np.int64], train: NDArray[np.int64], trunk: Trunk, seed: int
) -> NDArray[np.uint8]:
    # A few are enough for size and speed, which is all that this file is for.
    chosen = choose_calibration(classes, train, RUNS, seed)
    return images_of([samples[i] for i in chosen], trunk.backbone.input.preprocessing)


def _answers(head: Head, features: NDArray[np.float32]) -> NDArray[np.int64]:
    layer = head.layers[0]
    return np.asarray(np.argmax(features @ layer.kernel + layer.bias, axis=1), np.int64)
