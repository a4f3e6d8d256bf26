"""The build, top to bottom: named steps, each a plain function from frozen records to a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.backbones.shave import cost_of_flatten
from tlc_edge.compiler.bundle.assemble import assemble
from tlc_edge.compiler.bundle.exemplars import choose_exemplars
from tlc_edge.compiler.bundle.unknown_once import knownness_once
from tlc_edge.compiler.data.calibration_set import CalibrationSet, decode_calibration
from tlc_edge.compiler.data.decode import decode_all, images_of
from tlc_edge.compiler.data.forms.elsewhere import fetched_bytes
from tlc_edge.compiler.data.prepared import Data
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.fine_tune.checkpoints import remove_checkpoints
from tlc_edge.compiler.fine_tune.step import checkpoints_beside
from tlc_edge.compiler.lower.file_kinds import FileKind, TrunkKind
from tlc_edge.compiler.report.evidence import ODD_THUMBNAILS, Evidence, Exemplars, Foreign, Pictures
from tlc_edge.compiler.report.settings import Settings, told_sampled
from tlc_edge.compiler.shards.costs import Costs
from tlc_edge.compiler.site.site import make_site, write_site
from tlc_edge.compiler.study.study import Study, study
from tlc_edge.compiler.verify.demands import recalls, refuse
from tlc_edge.compiler.verify.parity import build_parity
from tlc_edge.compiler.verify.timing import median_milliseconds
from tlc_edge.compiler.verify.trunk_layers import trunk_layers
from tlc_edge.runtime.bundle.bundle import MANIFEST, Bundle, write_bundle
from tlc_edge.runtime.bundle.manifest import to_json
from tlc_edge.runtime.knn.unknown import Knownness
from tlc_edge.runtime.progress import Count
from tlc_edge.runtime.signing.release import make_release

from .again import change_ahead
from .first_look import first_look
from .fit import Fitted
from .ladder import Ladder, climb, fit_or_climb, ladder_text
from .meanwhile import meanwhile
from .options import PER_CLASS, Options
from .order import Order, check, demands_of
from .prepare import (
    Begun,
    ImageList,
    begin,
    check_head_fits,
    check_tuning,
    cut,
    featurize_all,
    keep_cut,
    list_images,
    look_at_all,
    lower,
    own_labels,
    receive_cut,
    split_data,
    tune,
)
from .records import Trunk
from .result import Built, Result, Rung
from .spread import plan_for_cluster
from .steps import Progress, Steps, no_progress
from .toolchain import load_libraries, load_tensorflow
from .worker import Worker

MOST_EXEMPLARS = 20_000
"""Of all classes together, or one of each."""


def build(options: Options, progress: Progress = no_progress) -> Result:
    """Turn a backbone and labelled images into a verified bundle per target.

    Raises:
        TlcError: with a note that names the step. Nothing has been written then; or, where the disk filled up
            between the bundles of several targets, the first of them, whole.
    """
    fetched = fetched_bytes()
    if options.cluster is not None:
        options = plan_for_cluster(options, progress)
    step = Steps(progress)
    with Worker(options.threads) as worker:  # however the build ends, it ends with it
        return _build(options, step, worker, fetched)


def _build(options: Options, step: Steps, worker: Worker, fetched: int) -> Result:
    with step("load data") as tell:  # the list of images; first, as most mistakes are in it and are found at no cost
        order = check(options)
        begun = begin(order, worker)  # TensorFlow takes seconds, and needs no images
        listed = list_images(order, tell)

    # images are decoded beside that, where it takes long
    first = first_look(order, waits=begun.known is None and begun.apart is not None)
    with meanwhile(partial(first.take, listed.dataset.samples), options.threads):
        files, labels = load_trunk(order, begun, listed, step)
    trunk = files.trunk

    with step("featurize") as tell:  # each image once through the trunk; what cannot be decoded drops out
        looked = look_at_all(
            order, files, listed, first, tell
        )  # as far as that needs no trunk, which may be on its way

    with step("split"):  # in three parts; after decoding, so that they are counted in images that exist
        data = split_data(listed, looked, trunk, options.seed, labels)

    with step("calibrate"):  # training images set the int8 ranges; the held-out ones must not
        calibration = decode_calibration(data, options.calibration, options.seed)
        files.begin_calibrated(order.trunks, calibration.images)

    with step("featurize") as tell:  # the rest, while the worker lowers to int8
        data = featurize_all(order, looked, data, tell)

    if options.fine_tune is not None:
        files, data = tune(order, options.fine_tune, files, data, step)

    # the trunk once per format and scheme, however many targets take it
    with step("lower") as tell, meanwhile(partial(change_ahead, order, data), options.threads):
        trunks = lower(order, files, calibration, tell)

    with step("decode"):  # the held-out images that were not kept decoded, when somebody looks at them
        held_out = data.decode_held_out()

    # Featurize again, train the head, fuse, check the limits, verify. Then what lost too much is made in other ways,
    # until one is good enough.
    ladder = Ladder(order, files, calibration)
    fitted = fit_or_climb(ladder, data, held_out, trunks, step)
    fitted, rungs = climb(order, fitted, data, held_out, calibration, step, ladder)

    check_demands(order, fitted, data)  # before more work goes into what would not be written

    with step("choose exemplars"):  # training images that cover their class, to travel with the bundle
        chosen = exemplars_of(options, fitted, data)

    with step("calibrate unknown"):  # how near new images come to stored ones; test images only count mistakes
        unknown = measure_unknown(order, fitted, data, chosen)

    with step("study") as tell:  # what the report tells; nothing that it finds changes a file
        studied = study_all(fitted, data, calibration, options, tell)
        pictures = pick_pictures(fitted, data, studied) if options.thumbnails else None
        milliseconds = {kind: median_milliseconds(j.engines[0], held_out.images) for kind, j in fitted.judged.items()}

    with step("write") as tell:  # last, whole or not at all
        evidence = Evidence(
            data=data,
            reference=fitted.reference,
            exemplars=exemplars_with(data, chosen),
            unknown=unknown,
            study=studied,
            settings=settings_of(options, data, calibration, rungs, fine_tuned=files.trunk is not trunk),
            foreign=decode_foreign(listed, data),
            pictures=pictures,
        )
        bundles = write_bundles(order, evidence, fitted, milliseconds, tell)

    forget_checkpoints(options)
    return Result(
        bundles=bundles,
        labels=data.labels,
        images=data.counts,
        float_accuracy=fitted.reference.accuracy,
        held_out=len(held_out.images),
        skipped=data.skipped,
        seconds=dict(step.seconds),
        duplicates=data.duplicates,
        cached=data.cached,
        notes=notes_of(trunk, data, fitted),
        restored=trunk.backbone.restored,
        parity=studied.parity,
        rungs=rungs,
        costs=costs_of(order, fetched_bytes() - fetched),
        recognised=data.recognised,
    )


def load_trunk(order: Order, begun: Begun, listed: ImageList, step: Steps) -> tuple[TrunkFiles, tuple[str, ...] | None]:
    """Return the trunk that is asked for, and the order of the classes where its own classifier has one.

    Raises:
        TlcError: it cannot be loaded, or cut as asked; or it does not fit the images or the head.
    """
    options, wanted, known, apart = order.options, begun.wanted, begun.known, begun.apart

    with step("load TensorFlow"):  # by far the slowest import, so only when there is work for it: a trunk not seen yet
        if known is None and apart is not None:
            load_libraries()  # meanwhile
            apart.tensorflow.result()
        elif order.keras and known is None:
            load_tensorflow()

    with step("load backbone"):  # a pretrained network; its weights are checked against their pinned hash
        if known is None and apart is not None and apart.choice.result():
            load_tensorflow()
            apart = None  # only the images can tell, and they are here
        backbone = None if known or apart else order.backbone_source.load(options.backbone, options.asked)

    with step("shave") as tell:  # cuts the network: that decides what a feature is, so before any is computed
        if backbone is not None:
            trunk = cut(order, backbone, listed, tell)
        elif known is not None:
            trunk = known
        else:
            assert apart is not None
            trunk = receive_cut(order, wanted, apart)
        check_tuning(order, trunk, listed)  # it may ask for too much
        check_head_fits(order, trunk, listed)
        labels = own_labels(order, trunk.backbone, listed)
        if backbone is not None:
            keep_cut(order, wanted, trunk)
        files = TrunkFiles(trunk, options.cache, apart)
        files.begin(order.trunks)
    return files, labels


def costs_of(order: Order, fetched: int) -> Costs:
    """Return what shards took, and what the build got from elsewhere itself, `fetched` bytes of it images."""
    if order.stored is None:
        return Costs(fetched)
    return Costs(fetched + order.stored.store.fetched, order.stored.workers())


def notes_of(trunk: Trunk, data: Data, fitted: Fitted) -> tuple[str, ...]:
    """Return what the user should know of a build."""
    costs = cost_of_flatten(trunk)
    return (
        *trunk.backbone.notes,
        *([trunk.reason] if trunk.reason else []),
        *([costs] if costs else []),
        *data.notes,
        *([told_sampled(data.sampled)] if data.sampled else []),
        *fitted.notes,
    )


def check_demands(order: Order, fitted: Fitted, data: Data) -> None:
    """Check that each file reaches what was demanded of it.

    Raises:
        BuildError: one does not.
    """
    demands, truth = demands_of(order.options), fitted.reference.held_out.truth
    missed: list[str] = []
    for judged in fitted.judged.values():
        right = int((judged.answers == truth).sum())
        classes = recalls(judged.answers, truth, data.labels)
        missed += demands.misses(judged.score.file, right, len(truth), classes)
    if missed:
        raise refuse(missed, built=True)


def exemplars_of(options: Options, fitted: Fitted, data: Data) -> NDArray[np.int64]:
    """Return which training images are to be exemplars."""
    count = options.exemplars if fitted.fused.head.layers else PER_CLASS
    count = min(count, max(1, MOST_EXEMPLARS // len(data.labels)))
    return choose_exemplars(fitted.embedded, data.train.classes, len(data.labels), count)


def measure_unknown(
    order: Order, fitted: Fitted, data: Data, exemplars: NDArray[np.int64]
) -> dict[TrunkKind, Knownness]:
    """Return what `unknown` is judged by, for each trunk that a device prefers; `exemplars` are training images."""
    shipped = bool(fitted.fused.head.layers)
    views, classes, options = list(fitted.aligned.values()), data.train.classes, order.options
    preferred = {of_target[0].trunk: fitted.judged[of_target[0]].file.info for of_target in order.kinds.values()}
    found: dict[TrunkKind, Knownness] = {}
    for asked, made in preferred.items():  # what is made may have another scheme than was asked for
        device = fitted.aligned.get(asked, data.train.features)
        found[made.format, made.scheme] = knownness_once(
            options.cache, fitted.plain, views, device, classes, exemplars, options.seed, fitted.looks, shipped=shipped
        )
    return found


def study_all(fitted: Fitted, data: Data, calibration: CalibrationSet, options: Options, progress: Count) -> Study:
    """Return all that the report tells beside accuracies."""
    return replace(
        study(fitted.fused, data, options.seed, progress, options.cache),
        layers=trunk_layers(fitted.files, fitted.trunks, calibration.images, options.cache),
        parity=build_parity(fitted.reference.outputs, fitted.judged),
        corrections={(t.format, t.scheme): t.correction for t in fitted.trunks.values() if t.correction is not None},
    )


def pick_pictures(fitted: Fitted, data: Data, studied: Study) -> Pictures:
    """Return what the report may show of the user's images."""
    odd = [data.train.samples[o.index] for o in studied.odd[:ODD_THUMBNAILS]]
    return Pictures(fitted.reference.held_out.images, images_of(odd, data.preprocessing))


def exemplars_with(data: Data, chosen: NDArray[np.int64]) -> Exemplars:
    """Return exemplars with where their images come from; `chosen` are training images."""
    return Exemplars([data.samples[i] for i in data.train_rows[chosen]], data.train.classes[chosen])


def decode_foreign(listed: ImageList, data: Data) -> Foreign | None:
    """Return the images of anything else; None without any.

    Raises:
        DataError: none can be decoded.
    """
    return Foreign(*decode_all(listed.foreign, data.preprocessing)[:2]) if listed.foreign else None


def settings_of(
    options: Options, data: Data, calibration: CalibrationSet, rungs: Sequence[Rung], *, fine_tuned: bool
) -> Settings:
    """Return what was asked for, and what was made of it."""
    return Settings(
        seed=options.seed,
        max_drop=options.max_drop,
        calibration=len(calibration.images),
        augment=options.augment,
        copies=options.copies,
        fine_tune=None if options.fine_tune is None else options.fine_tune.layers,
        fine_tuned=fine_tuned,
        ladder=ladder_text(rungs),
        sampled=data.sampled,
    )


def write_bundles(
    order: Order, evidence: Evidence, fitted: Fitted, milliseconds: Mapping[FileKind, float], progress: Count
) -> tuple[Built, ...]:
    """Write a bundle per target. All are made before the first is written: an error in making one leaves none.

    Raises:
        TlcError: something in one cannot be made, or written.
    """
    files = {t.name: [fitted.judged[kind] for kind in order.kinds[t.name]] for t in order.targets}
    rate = order.options.unknown_rate
    made = [
        assemble(evidence, target, files[target.name], fitted.fits[target.name], rate, path.name)
        for target, path in zip(order.targets, order.outputs, strict=True)
    ]
    release = make_release()  # one for all targets: none of them is the newer one
    written: list[Built] = []
    for target, path, bundle in zip(order.targets, order.outputs, made, strict=True):
        write_bundle(path, bundle.manifest, bundle.files, order.options.force, order.options.sign, release)
        if order.options.site is not None and order.libraries is not None:
            inside = Bundle(path, bundle.manifest, {MANIFEST: to_json(bundle.manifest), **bundle.files})
            write_site(order.options.site, make_site(inside, order.libraries), order.options.force)
        written.append(
            Built(
                path=path,
                target=target.name,
                scheme=bundle.manifest.scheme,
                bytes=len(to_json(bundle.manifest)) + sum(map(len, bundle.files.values())),
                scores=tuple(j.score for j in files[target.name]),
                findings=bundle.findings,
                milliseconds=tuple(milliseconds[kind] for kind in order.kinds[target.name]),
                fits=fitted.fits[target.name],
                notes=target.notes,
                site=order.options.site,
            )
        )
        progress(len(written), len(order.targets))
    return tuple(written)


def forget_checkpoints(options: Options) -> None:
    """Remove the checkpoints that nobody asked for: they have served."""
    if options.fine_tune is not None and options.fine_tune.checkpoints is None:
        remove_checkpoints(checkpoints_beside(options.output))
