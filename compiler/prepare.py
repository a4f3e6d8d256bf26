"""Prepare: from whatever `--data` names to images that are split and featurized, by a trunk that is as it will ship."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.backbones.cuts import cuts_of
from tlc_edge.compiler.backbones.known import Wanted, find_trunk, keep_trunk, unpack_trunk
from tlc_edge.compiler.backbones.own_labels import labels_from
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.cache.folder import caching
from tlc_edge.compiler.data.calibration_set import CalibrationSet, choose_calibration
from tlc_edge.compiler.data.duplicates import find_groups, join_groups, list_groups
from tlc_edge.compiler.data.foreign import load_foreign
from tlc_edge.compiler.data.load import Origin, load_dataset
from tlc_edge.compiler.data.prepared import Data, number_classes, split_samples
from tlc_edge.compiler.data.records import Dataset, Sample
from tlc_edge.compiler.data.split import Split
from tlc_edge.compiler.features.featurize import Featurized, Looked, featurize, look, looked
from tlc_edge.compiler.features.trunk_apart import Apart, Network, can_be_apart
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.fine_tune.layers import choose
from tlc_edge.compiler.fine_tune.step import checkpoints_beside, fine_tune_step
from tlc_edge.compiler.lower.file_kinds import TrunkKind
from tlc_edge.compiler.network.facts import of_onnx
from tlc_edge.compiler.network.fingerprint import fingerprint
from tlc_edge.compiler.study.cuts import choose_cut
from tlc_edge.compiler.train.heads import check_fit, check_head
from tlc_edge.compiler.train.streamed import STREAMED
from tlc_edge.compiler.worker import Worker
from tlc_edge.runtime.errors import BuildError, DataError, UsageError
from tlc_edge.runtime.progress import Count

from .first_look import FirstLook
from .options import POOLS, FineTune
from .order import Order
from .records import Backbone, LoweredTrunk, Trunk
from .steps import Steps

STUDIED = 10_000
"""Training images that all but the head is made from, where more than `STREAMED` train; more where classes are many."""
_OF_A_CLASS = 5
MEASURED = 10_000
"""Held-out images that are decoded and measured on, at most, or one of each class."""


@dataclass(frozen=True, eq=False)
class ImageList:
    """Images that are named and not decoded yet."""

    dataset: Dataset
    planned: Split
    """As if every image could be read, so that a class that is too small is found before the work."""
    foreign: tuple[Sample, ...]
    """Images of anything else, to count false accepts on; none: each class is held out in turn."""
    seen: Featurized | None = None
    """What a store has of them; None: they are yet to be looked at."""


def list_images(order: Order, progress: Count) -> ImageList:
    """Find the images that an order names.

    Raises:
        DataError: they cannot be found or read, or a class has too few.
    """
    asked = order.options
    labels = None if check_head(asked.head).of_network else asked.labels  # those are the network's
    origin = Origin(
        asked.data, labels, asked.shape, asked.checksum, asked.cache, asked.encoding, asked.crop, asked.more
    )
    seen: Featurized | None = None
    if order.stored is None:
        dataset = load_dataset(origin, strict=asked.strict, limit=asked.limit, progress=progress)
    else:
        dataset, seen = order.stored.dataset(origin, strict=asked.strict, progress=progress)
    planned = split_samples(dataset.samples, dataset.skipped, asked.seed)
    foreign = load_foreign(asked.unknown_data) if asked.unknown_data is not None else ()
    return ImageList(dataset, planned, tuple(foreign), seen)


@dataclass(frozen=True, eq=False)
class Begun:
    """What there is of a network before a build waits for it; neither where it is to be loaded in this process."""

    wanted: Wanted
    known: Trunk | None = None
    """The trunk, where it was cut before; its network is loaded when it is needed."""
    apart: Apart | None = None
    """The worker, which is loading it; or where the trunk is known, will when there is something to lower."""


def begin(order: Order, worker: Worker) -> Begun:
    """Look for the trunk that an order asks for, and where it is not known, have the worker load its network."""
    options, kind = order.options, check_head(order.options.head)
    wanted = Wanted(order.backbone_source, options.backbone, options.asked)
    if not order.keras or kind.of_network:
        return Begun(wanted)
    with caching(options.cache, make=False) as cache:  # a mistake in --data leaves no folder
        found = find_trunk(cache, wanted, _cut_words(order))
    if kind.keras or options.fine_tune is not None:  # done in Keras whatever is known
        return Begun(wanted)
    if not can_be_apart(worker, wanted):
        return Begun(wanted, found)
    known = None if found is None else fingerprint(found)
    apart = Apart(
        worker, Network(options.backbone, options.asked, options.shave, options.pool, _by_images(order), known)
    )
    if found is None:
        apart.start()
    return Begun(wanted, found, apart)


def keep_cut(order: Order, wanted: Wanted, trunk: Trunk) -> None:
    """Keep what is known of a trunk that `begin` did not find; not where the images decided where it was cut."""
    of_network = check_head(order.options.head).of_network
    if order.keras and not of_network and not of_onnx(trunk):
        if _by_images(order) and len(cuts_of(trunk.backbone)) > 1:
            return
        with caching(order.options.cache) as cache:
            keep_trunk(cache, wanted, _cut_words(order), trunk)


def receive_cut(order: Order, wanted: Wanted, apart: Apart) -> Trunk:
    """Return the trunk that the worker has cut, and keep what is known of it.

    Raises:
        UsageError: as in `shave`.
    """
    packed = apart.cut.result()
    with caching(order.options.cache) as cache:
        keep_trunk(cache, wanted, _cut_words(order), packed)
    return unpack_trunk(packed, wanted)


def _cut_words(order: Order) -> list[object]:
    options = order.options
    return [options.shave, options.pool, _by_images(order)]


def _by_images(order: Order) -> bool:
    """Return whether images may decide where the backbone is cut."""
    options = order.options
    return options.shave in (None, "auto") and options.pool == POOLS[0] and check_head(options.head).trained


def cut(order: Order, backbone: Backbone, listed: ImageList, progress: Count) -> Trunk:
    """Cut the backbone where the order says, or where it does best on the training images, if only they can tell.

    Raises:
        UsageError: as in `shave`.
    """
    options = order.options
    kind = check_head(options.head)
    if kind.of_network:
        return cut_for_own_head(order, backbone)
    if not _by_images(order):
        return shave(backbone, options.shave, options.pool)
    samples = [listed.dataset.samples[i] for i in listed.planned.train]
    trunk, why = choose_cut(backbone, samples, options.seed, options.threads, options.cache, progress)
    return replace(trunk, reason=why)


def cut_for_own_head(order: Order, backbone: Backbone) -> Trunk:
    """Cut the backbone before its own classifier.

    Raises:
        BuildError: it has none that can be a head.
        UsageError: another cut is asked for.
    """
    options = order.options
    if isinstance(backbone.own, str):
        raise BuildError(f"--head own: {backbone.name} cannot bring its own: {backbone.own}; leave --head to linear")
    if options.shave not in (None, "auto") or options.pool != POOLS[0]:
        raise UsageError(
            f"--head own: the classifier of {backbone.name} reads {backbone.own.layer} ({backbone.own.pool}); leave "
            "--shave and --pool out"
        )
    assumed = (
        ""
        if options.labels is not None or backbone.labels is not None
        else ("; its classes were taken in the order of their names, as nothing beside it says another (--labels FILE)")
    )
    why = f"cut at {backbone.own.layer}, where the network's own classifier reads it{assumed}"
    return replace(shave(backbone, backbone.own.layer, backbone.own.pool), reason=why)


def own_labels(order: Order, backbone: Backbone, listed: ImageList) -> tuple[str, ...] | None:
    """Return the labels of a network's own classifier in its order; None for a head that has no order of its own.

    Raises:
        BuildError: the images are of other classes.
    """
    options, own = order.options, backbone.own
    if not check_head(options.head).of_network or isinstance(own, str):
        return None
    count, there = own.layers[-1].kernel.shape[1], set(listed.dataset.labels)
    labels = labels_from(options.labels) if options.labels is not None else backbone.labels
    if labels is None:
        if count != len(there):
            raise BuildError(
                f"--head own: {backbone.name} tells {count} classes apart and does not say which; the data has "
                f"{len(there)}: name them in a file, one on each line in its order: --labels FILE"
            )
        return tuple(sorted(there))
    if len(labels) != count:
        raise BuildError(
            f"--head own: {len(labels)} labels ({', '.join(labels[:6])}), and {backbone.name} tells {count} classes "
            "apart; give those of this network: --labels FILE"
        )
    unknown, missing = sorted(there - set(labels)), [label for label in labels if label not in there]
    if unknown:
        raise BuildError(
            f"--head own: {backbone.name} knows no {', '.join(unknown[:6])}; it knows {', '.join(labels[:6])}"
            f"{', …' if len(labels) > 6 else ''}: leave them out and enroll them on the device, or take --head linear"
        )
    if missing:
        raise BuildError(
            f"--head own: the data has no images of {', '.join(missing[:6])}{', …' if len(missing) > 6 else ''}; give "
            "a few of every class, to calibrate and to verify"
        )
    return labels


def check_tuning(order: Order, trunk: Trunk, listed: ImageList) -> None:
    """Check that a trunk has the layers that are to be fine-tuned, and that they ask for no more memory than there is.

    Raises:
        TlcError: as in `choose`.
    """
    asked = order.options.fine_tune
    if asked is not None:
        images, classes = len(listed.planned.train), len(listed.dataset.labels)
        choose(trunk, asked.layers, images, classes, 1 + len(order.views))


def check_head_fits(order: Order, trunk: Trunk, listed: ImageList) -> None:
    """Check that a head from a file is for this trunk and these classes.

    Raises:
        BuildError: as in `check_fit`.
    """
    check_fit(order.options.head, trunk.width, tuple(sorted(listed.dataset.labels)))


def look_at_all(order: Order, files: TrunkFiles, listed: ImageList, before: FirstLook, progress: Count) -> Looked:
    """Read, hash and decode all images; what cannot be decoded drops out.

    What is decoded stays in memory for the steps to come, as far as there is room. Where the trunk is lowered elsewhere
    and all fits, it waits for it: so it is known which images calibrate before the trunk runs. Otherwise the trunk
    runs at once.

    Raises:
        DataError: an image cannot be decoded, and the order is strict.
    """
    options, spec = order.options, files.trunk.backbone.input.preprocessing
    if order.stored is not None and listed.seen is not None:
        order.stored.check_trunk(files.as_float(), spec)
        found = looked(listed.seen)
    else:
        held = 0 if files.elsewhere is None else before.room
        samples, seen = listed.dataset.samples, before.fitting(spec)
        with caching(options.cache) as cache:
            found = look(files.as_float(), samples, spec, options.threads, progress, cache=cache, held=held, seen=seen)
    if options.strict and found.skipped:
        first = found.skipped[0]
        raise DataError(f"{first.name}: {first.reason}; {len(found.skipped)} unreadable in all (--strict)")
    return found


def featurize_all(order: Order, found: Looked, data: Data, progress: Count) -> Data:
    """Run the float trunk over all images, in the device's own engine: it takes a third of Keras' time.

    The trunk is lowered only if an image is not in the cache.
    """
    with caching(order.options.cache) as cache:
        seen = found.featurize(progress, cache)
    notes = (*data.notes, *([seen.problem] if seen.problem else []))
    return replace(data, features=seen.features, cached=seen.cached, notes=notes)


def split_data(
    listed: ImageList, found: Looked, trunk: Trunk, seed: int, labels: tuple[str, ...] | None = None
) -> Data:
    """Say of each image that could be read what it is for; images of one picture stay together.

    Their features are yet to come. `labels` is the order of the classes, sorted by default.

    Raises:
        DataError: a class has too few.
    """
    skipped = listed.dataset.skipped + found.skipped
    groups = find_groups(found.thumbnails)
    parts = split_samples(found.samples, skipped, seed, join_groups(groups, found.samples))
    labels, classes = number_classes(found.samples, labels)
    studied = _some(classes, parts.train, STREAMED, max(STUDIED, _OF_A_CLASS * len(labels)), seed)
    measured = _some(classes, parts.held_out, MEASURED, max(MEASURED, len(labels)), seed)
    return Data(
        samples=found.samples,
        labels=labels,
        classes=classes,
        parts=parts,
        features=np.empty((0, trunk.width), np.float32),
        preprocessing=trunk.backbone.input.preprocessing,
        skipped=skipped,
        digests=found.digests,
        duplicates=list_groups(found.samples, groups, parts),
        notes=listed.dataset.notes,
        recognised=listed.dataset.recognised,
        studied=studied,
        measured=measured,
        seen=found.seen,
    )


def _some(
    classes: NDArray[np.int64], rows: NDArray[np.int64], bound: int, count: int, seed: int
) -> NDArray[np.int64] | None:
    """Return `count` of the images `rows`, spread over the classes, ascending; None for no more than `bound`."""
    return None if len(rows) <= bound else np.sort(choose_calibration(classes, rows, count, seed))


def tune(order: Order, asked: FineTune, files: TrunkFiles, data: Data, step: Steps) -> tuple[TrunkFiles, Data]:
    """Fine-tune the trunk, and featurize all images once more with what came of it.

    Raises:
        TlcError: as in `fine_tune_step`.
    """
    options = order.options
    asked = replace(asked, checkpoints=asked.checkpoints or checkpoints_beside(options.output))
    with step("fine-tune") as tell:  # trains last layers too; before anything is lowered, as it changes the trunk
        trunk, said = fine_tune_step(
            asked, files.trunk, data.train, order.views, data.preprocessing, options.seed, tell
        )
        files = TrunkFiles(trunk, options.cache)
    # with another trunk every feature is another one
    with step("featurize tuned") as tell, caching(options.cache) as cache:
        found = featurize(
            files.as_float(), data.samples, data.preprocessing, options.threads, tell, cache=cache, seen=data.seen
        )
    return files, replace(data, features=found.features, cached=found.cached, notes=(*data.notes, said))


def lower(
    order: Order, files: TrunkFiles, calibration: CalibrationSet, progress: Count
) -> Mapping[TrunkKind, LoweredTrunk]:
    """Return the trunk in each format and scheme that a target takes, once however many take it."""
    trunks: dict[TrunkKind, LoweredTrunk] = {}
    for i, (form, scheme) in enumerate(order.trunks):
        try:
            trunks[form, scheme] = files.get(form, scheme, calibration.images)
        except BuildError as e:
            if not order.options.ladder:
                raise
            trunks[form, scheme] = LoweredTrunk(form, scheme, b"", refused=str(e))  # the ladder goes on from there
        progress(i + 1, len(order.trunks))
    return trunks
