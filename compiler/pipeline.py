"""The build, top to bottom: named steps, each a plain function from frozen records to a new one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.backbones.find import find_backbone, load_backbone
from tlc_edge.compiler.backbones.shave import cost_of_flatten, shave
from tlc_edge.compiler.bundle.assemble import assemble
from tlc_edge.compiler.bundle.exemplars import choose_exemplars
from tlc_edge.compiler.bundle.unknown import calibrate_unknown
from tlc_edge.compiler.cache.folder import caching
from tlc_edge.compiler.data.augment import copies
from tlc_edge.compiler.data.calibration_set import choose_calibration, with_copies
from tlc_edge.compiler.data.decode import decode_all, images_of
from tlc_edge.compiler.data.duplicates import find_groups, list_groups
from tlc_edge.compiler.data.foreign import load_foreign
from tlc_edge.compiler.data.load import Origin, load_dataset
from tlc_edge.compiler.data.records import Sample, Skipped
from tlc_edge.compiler.data.split import Split, split
from tlc_edge.compiler.extras.find import require_extras
from tlc_edge.compiler.features.featurize import featurize
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.fine_tune.checkpoints import remove_checkpoints
from tlc_edge.compiler.fine_tune.layers import choose
from tlc_edge.compiler.fine_tune.step import check_fine_tune, checkpoints_beside, fine_tune_step
from tlc_edge.compiler.limits.check import check_target
from tlc_edge.compiler.lower.file_kinds import TrunkKind, file_kinds, trunk_kinds
from tlc_edge.compiler.lower.tflite_content import left_in_float
from tlc_edge.compiler.report.evidence import ODD_THUMBNAILS, Evidence, Pictures
from tlc_edge.compiler.study.study import Seen, study
from tlc_edge.compiler.train.head_file import check_head_file, is_head_file
from tlc_edge.compiler.train.heads import check_kind
from tlc_edge.compiler.verify.layers import trunk_layers
from tlc_edge.compiler.verify.parity import build_parity
from tlc_edge.compiler.verify.timing import median_milliseconds
from tlc_edge.runtime.bundle.bundle import check_writable, write_bundle
from tlc_edge.runtime.bundle.manifest import Preprocessing, to_json
from tlc_edge.runtime.errors import DataError, UsageError
from tlc_edge.runtime.knn.unknown import checked_rate
from tlc_edge.runtime.progress import Count
from tlc_edge.targets import Target, load_target

from .fit import Material, fit
from .ladder import Calibration, climb, ladder_text
from .options import PER_CLASS, Options, check_numbers
from .records import LoweredTrunk
from .result import Built, Result
from .steps import Progress, Steps, no_progress
from .toolchain import load_tensorflow, require_toolchain


def build(options: Options, progress: Progress = no_progress) -> Result:
    """Turn a backbone and labelled images into a verified bundle a target.

    Raises:
        TlcError: with a note that names the step. Nothing has been written then; or, where the disk filled up
            between the bundles of several targets, the first of them, whole.
    """
    step = Steps(progress)

    with step("load data") as report:  # first: most mistakes are in it, and it costs nothing to find them
        require_toolchain()
        check_numbers(options)
        checked_rate(options.unknown_rate)
        targets = [load_target(name) for name in options.targets]
        find_backbone(options.backbone, options.asked)
        if is_head_file(options.head):
            check_head_file(options.head)
        else:
            check_kind(options.head)
        if options.fine_tune is not None:
            check_fine_tune(options.fine_tune)
        for target in targets:
            check_target(target)
            require_extras(target)
        kinds = {t.name: file_kinds(t, options.scheme, options.onnx_scheme) for t in targets}
        outputs = _outputs(options, targets)
        origin = Origin(options.data, options.labels, options.shape, options.checksum, options.cache)
        dataset = load_dataset(origin, strict=options.strict, limit=options.limit, progress=report)
        planned = _split(dataset.samples, dataset.skipped, options.seed)
        foreign = load_foreign(options.unknown_data) if options.unknown_data is not None else []

    with step("load TensorFlow"):  # by far the slowest import, so only when there is work for it
        load_tensorflow()

    with step("load backbone"):  # its weights are checked against their pinned hash
        backbone = load_backbone(options.backbone, options.asked)

    with step("shave"):  # decides what a feature is, so before any is computed
        untuned = trunk = shave(backbone, options.shave, options.pool)
        preprocessing = Preprocessing(backbone.input.height, backbone.input.width, backbone.input.channels)

        views = copies(options.augment, options.copies, options.seed)
        if options.fine_tune is not None:  # before any image is featurized: it may ask for too much
            choose(trunk, options.fine_tune.layers, len(planned.train), len(dataset.labels), 1 + len(views))

    # In the device's own engine, a third of Keras' time. What cannot be decoded drops out here; the trunk is lowered
    # only if an image is not in the cache.
    with step("featurize") as report, caching(options.cache) as cache:
        files = TrunkFiles(trunk, options.cache)
        featurized = featurize(files.as_float(), dataset.samples, preprocessing, options.threads, report, cache=cache)
        notes = (*dataset.notes, *([cache.problem] if cache and cache.problem else []))
        samples, skipped = featurized.samples, dataset.skipped + featurized.skipped
        if options.strict and featurized.skipped:
            first = featurized.skipped[0]
            raise DataError(f"{first.name}: {first.reason}; {len(featurized.skipped)} unreadable in all (--strict)")

    with step("split"):  # after decoding, so that the parts are counted in images that exist
        groups = find_groups(featurized.thumbnails)
        parts = _split(samples, skipped, options.seed, groups)
        duplicates = list_groups(samples, groups, parts)
        labels = tuple(sorted({s.label for s in samples}))
        classes = np.array([labels.index(s.label) for s in samples], np.int64)

    fine_tune = options.fine_tune and replace(
        options.fine_tune, checkpoints=options.fine_tune.checkpoints or checkpoints_beside(options.output)
    )
    if fine_tune is not None:  # before anything is lowered for a device: it changes the trunk
        with step("fine-tune") as report:
            given = ([samples[i] for i in parts.train], featurized.features[parts.train], classes[parts.train])
            trunk, said = fine_tune_step(fine_tune, trunk, given, views, preprocessing, options.seed, report)
            notes = (*notes, said)
            files = TrunkFiles(trunk, options.cache)
        with step("featurize tuned") as report, caching(options.cache) as cache:
            featurized = featurize(files.as_float(), samples, preprocessing, options.threads, report, cache=cache)

    with step("calibrate"):  # from training images alone: the held-out ones must not set the ranges
        chosen = choose_calibration(classes, parts.train, options.calibration, options.seed)
        calibration = images_of([samples[i] for i in chosen], preprocessing)

    with step("lower") as report:  # the trunk once a format and scheme, however many targets take it
        wanted = trunk_kinds(kind for of_target in kinds.values() for kind in of_target)
        trunks = _lower(files, wanted, calibration, report)

    with step("decode"):  # the held-out images, once for all that is measured on them
        held_out = np.sort(np.concatenate([parts.validation, parts.test]))
        images = images_of([samples[i] for i in held_out], preprocessing)

    # Featurize again, train the head, fuse, check the limits, verify: before anything is written, as a file that is too
    # large or falls too far stops the build.
    material = Material(
        files=files,
        training=[samples[i] for i in parts.train],
        features=featurized.features[parts.train],
        truth=classes[parts.train],
        labels=labels,
        views=views,
        preprocessing=preprocessing,
        held_out=images,
        held_truth=classes[held_out],
    )
    fitted = fit(material, trunks, targets, options, step)

    def more_calibration() -> NDArray[np.uint8]:
        again = choose_calibration(classes, parts.train, 5 * options.calibration, options.seed)
        return with_copies([samples[i] for i in again], preprocessing, options.seed)

    # What lost too much is made in other ways, until one is good enough.
    fitted, rungs = climb(fitted, material, Calibration(calibration, more_calibration), targets, options, step)
    fused, judged = fitted.fused, fitted.judged
    mixed = [left_in_float(f.data) for f in fitted.trunks.values() if (f.format, f.scheme) == ("tflite", "int8")]
    notes = (*notes, *(said for said in mixed if said))

    with step("choose exemplars"):  # by the float features; the device's own file embeds them below
        count = options.exemplars if fused.head.layers else PER_CLASS
        best = choose_exemplars(fitted.embedded, material.truth, len(labels), count)
        rows = parts.train[best]

    with step("calibrate unknown"):  # across folds of the training images: the test images only count its mistakes
        preferred = {of_target[0].trunk: judged[of_target[0]].file.info for of_target in kinds.values()}
        calibrations = {
            (info.format, info.scheme): calibrate_unknown(
                fitted.plain,
                list(fitted.seen.values()),
                fitted.seen.get(key, material.features),
                material.truth,
                best if fused.head.layers else best[:0],
                options.seed,
            )
            for key, info in preferred.items()
        }

    with step("study") as report:  # for the report; nothing that it finds changes a file
        float_features = featurized.features
        studied = study(
            fused,
            Seen(material.features, fitted.embedded, material.truth),
            Seen(float_features[held_out], fused.neck.project(float_features[held_out]), classes[held_out]),
            tuple(samples[i].name for i in parts.train),
            options.seed,
            report,
        )
        odd = images_of([material.training[o.index] for o in studied.odd[:ODD_THUMBNAILS]], preprocessing)
        layers = trunk_layers(files, fitted.trunks, calibration)
        parity = build_parity(fitted.reference, judged)
        milliseconds = {key: median_milliseconds(j.engine, images) for key, j in judged.items()}

    with step("write") as report:  # last, whole or not at all
        evidence = Evidence(
            labels=labels,
            fused=fused,
            study=studied,
            reference=fitted.reference,
            labelled=fitted.labelled,
            samples=[samples[i] for i in held_out],
            is_test=np.isin(held_out, parts.test),
            exemplar_images=images_of([samples[i] for i in rows], preprocessing),
            exemplar_classes=classes[rows],
            calibrations=calibrations,
            foreign=decode_all(foreign, preprocessing)[1] if foreign else None,
            counts=_counts(parts),
            skipped=skipped,
            duplicates=duplicates,
            settings={
                "seed": options.seed,
                "max_drop": options.max_drop,
                "calibration": len(calibration),
                "augment": ", ".join(options.augment) or "none",
                "copies": options.copies if options.augment else 0,
                "fine_tune": "none" if options.fine_tune is None else options.fine_tune.layers,
                **({"fine_tuned": trunk is not untuned} if options.fine_tune else {}),
                **({"ladder": ladder_text(rungs)} if rungs else {}),
            },
            pictures=Pictures(images, odd) if options.thumbnails else None,
            layers=layers,
            parity=parity,
        )
        # All are made before the first is written: an error in making one leaves none.
        made = [
            assemble(
                evidence,
                t,
                [judged[kind] for kind in kinds[t.name]],
                fitted.fits[t.name],
                options.unknown_rate,
                path.name,
            )
            for t, path in zip(targets, outputs, strict=True)
        ]
        bundles: list[Built] = []
        for target, path, bundle in zip(targets, outputs, made, strict=True):
            write_bundle(path, bundle.manifest, bundle.files, options.force)
            bundles.append(
                Built(
                    path,
                    target.name,
                    bundle.manifest.scheme,
                    len(to_json(bundle.manifest)) + sum(map(len, bundle.files.values())),
                    tuple(judged[kind].score for kind in kinds[target.name]),
                    bundle.findings,
                    tuple(milliseconds[kind] for kind in kinds[target.name]),
                    fitted.fits[target.name],
                    target.notes,
                )
            )
            report(len(bundles), len(targets))

    if options.fine_tune is not None and options.fine_tune.checkpoints is None:
        remove_checkpoints(checkpoints_beside(options.output))  # they have served
    costs = cost_of_flatten(trunk)
    return Result(
        tuple(bundles),
        labels,
        _counts(parts),
        fitted.float_accuracy,
        len(images),
        tuple(skipped),
        dict(step.seconds),
        duplicates=duplicates,
        cached=featurized.cached,
        notes=(*backbone.notes, *([costs] if costs else []), *notes),
        restored=backbone.restored,
        parity=parity,
        rungs=rungs,
    )


def _outputs(options: Options, targets: Sequence[Target]) -> list[Path]:
    """Return where each target's bundle goes, checked to be free and writable."""
    names = [t.name for t in targets]
    if not names:
        raise UsageError("no target given; see `tlc targets`")
    if len(set(names)) < len(names):
        raise UsageError(f"a target is named twice in {', '.join(names)}; name each once")
    out = options.output
    paths = [out] if len(names) == 1 else [out.with_name(f"{out.stem}.{name}{out.suffix}") for name in names]
    for path in paths:
        check_writable(path, options.force)
    return paths


def _split(
    samples: Sequence[Sample], skipped: Sequence[Skipped], seed: int, groups: NDArray[np.int64] | None = None
) -> Split:
    return split(
        [s.label for s in samples],
        seed,
        given=[s.split for s in samples],
        names=[s.name for s in samples],
        skipped=Counter(s.label for s in skipped if s.label is not None),
        groups=groups,
    )


def _counts(parts: Split) -> Counter[str]:
    return Counter(train=len(parts.train), validation=len(parts.validation), test=len(parts.test))


def _lower(
    files: TrunkFiles, wanted: Sequence[TrunkKind], calibration: NDArray[np.uint8], report: Count
) -> dict[TrunkKind, LoweredTrunk]:
    """Return the trunk in each format and scheme that is wanted."""
    trunks: dict[TrunkKind, LoweredTrunk] = {}
    for i, (form, scheme) in enumerate(wanted):
        trunks[form, scheme] = files.get(form, scheme, calibration)
        report(i + 1, len(wanted))
    return trunks
