"""Spread: what of a build other machines do. A plan first, then shards, and a build that reads them.

A build looks at its images twice: through the float trunk, and, split and calibrated, through the trunks as the device
runs them. So there are two plans: the second is made from the shards of the first.
"""

from __future__ import annotations

import secrets
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlc_edge.compiler.backbones import own_code
from tlc_edge.compiler.data.calibration_set import decode_calibration
from tlc_edge.compiler.data.load import Origin
from tlc_edge.compiler.data.prepared import split_samples
from tlc_edge.compiler.data.split import Split
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.shards.plan import SHARDS, Images, list_images, list_names, write_first
from tlc_edge.compiler.shards.records import Pass, read_plan, tupled
from tlc_edge.compiler.shards.rows import require_pyarrow
from tlc_edge.compiler.shards.store import PLAN, Store
from tlc_edge.compiler.shards.stored import State, Stored, open_stored, states
from tlc_edge.runtime.errors import DataError, UsageError
from tlc_edge.runtime.progress import silent

from . import prepare
from .again import looks_again, seen_again
from .first_look import first_look
from .options import Asked, Options
from .order import Order, check
from .steps import Progress, Steps, no_progress
from .toolchain import load_tensorflow

NOTHING = Split(*(np.zeros(0, np.int64) for _ in range(3)))
_KEPT = ("backbone", "shave", "pool", "head", "augment", "copies", "seed", "calibration", "scheme", "onnx_scheme")
"""Of a build's options: what decides the passes over the images."""


def plan_features(options: Options, store: str, shards: int = 0, progress: Progress = no_progress) -> tuple[State, ...]:
    """Plan the features of a data set, or where the store has them, those that the second look takes.

    Without `data` in the options it is the second. Returns how far each pass is.

    Raises:
        TlcError: as a build does; or there is nothing left to plan.
    """
    require_pyarrow()
    step = Steps(progress)
    where = Store(store)
    where.check_writable()
    if options.data:
        with step("plan"):
            _plan_first(options, where, shards)
    else:
        _plan_again(options, where, step)
    return tuple(states(where))


def plan_for_cluster(options: Options, progress: Progress) -> Options:
    """Return the options of a build that finds its features in a store, which is planned if it is not.

    Raises:
        TlcError: as `plan_features` does.
    """
    require_pyarrow()
    where = options.features or f"{options.output}.features"
    store = Store(where)
    if store.has(PLAN):
        _check_images(options, store)
    else:
        if not options.data:
            raise UsageError("--cluster: give the images with --data, or a store that was planned with --features")
        check(replace(options, features=None, cluster=None))  # all of it, before the work
        step = Steps(progress)
        with step("plan"):
            _plan_first(options, store, options.shards)
    return replace(options, features=where, limit=None)


def _check_images(options: Options, store: Store) -> None:
    """Check that a store that is planned is of the images that a build is given.

    Raises:
        UsageError: it is of others, or they were changed.
    """
    if not options.data:
        return
    first = read_plan(store)[1][0]
    if list_names(_images(options), len(first.lists)) != first.lists:
        raise UsageError(
            f"{store.name}: planned of other images than --data and --limit name now, or some were changed; give a new "
            "place with --features, or leave --data out to build what was planned"
        )


def _plan_first(options: Options, store: Store, shards: int) -> None:
    order = _order(options)
    images = _images(options)
    files = _files(order, images)
    kept: dict[str, Any] = {name: getattr(options, name) for name in _KEPT}
    spec = files.trunk.backbone.input.preprocessing
    write_first(
        store,
        images,
        files.as_float(),
        spec,
        shards or SHARDS,
        {**kept, "targets": options.targets, "asked": asdict(options.asked)},
    )


def _images(options: Options) -> Images:
    asked = options
    origin = Origin(
        asked.data, asked.labels, asked.shape, asked.checksum, asked.cache, asked.encoding, asked.crop, asked.more
    )
    return list_images(origin, strict=asked.strict, limit=asked.limit)


def _files(order: Order, images: Images) -> TrunkFiles:
    """Return the trunk that a build with this order would cut."""
    if order.keras:
        load_tensorflow()
    options = order.options
    backbone = order.backbone_source.load(options.backbone, options.asked)
    if images.held:  # what they hold is not known yet, so the default cut
        order = replace(order, options=replace(options, shave=options.shave or backbone.default_shave))
        listed = prepare.ImageList(images.dataset, NOTHING, ())
    else:
        planned = split_samples(images.dataset.samples, images.dataset.skipped, options.seed)
        listed = prepare.ImageList(images.dataset, planned, ())
    return TrunkFiles(prepare.cut(order, backbone, listed, silent), options.cache)


def _order(options: Options) -> Order:
    """Return the order of a build that writes nothing."""
    nowhere = Path(tempfile.gettempdir()) / f"tlc-{secrets.token_hex(8)}.tlc"
    return check(replace(options, output=nowhere, features=None, cluster=None, site=None, more=()))


def _planned(options: Options, stored: Stored) -> Options:
    """Return options with what a store was planned for; only what a plan keeps is taken from it.

    Raises:
        UsageError: it names code, and the user does not.
        DataError: the plan is damaged.
    """
    kept = tupled(stored.plan.options)
    try:
        asked = Asked(**tupled(kept["asked"]))
        planned = replace(options, asked=asked, **{name: kept[name] for name in (*_KEPT, "targets")})
        if own_code.claims(planned.backbone) and planned.backbone != options.backbone:
            raise UsageError(
                f"{stored.store.name}: its plan names code, {planned.backbone[:200]!r}, which runs only where you name "
                "it too: give the same --backbone"
            )
        return planned
    except (KeyError, TypeError, AttributeError) as e:
        raise DataError(f"{stored.store.name}: {PLAN} is damaged ({type(e).__name__}); plan it again") from None


def _plan_again(options: Options, store: Store, step: Steps) -> Pass:
    stored = open_stored(store.where)
    options = _planned(options, stored)
    order = replace(_order(options), stored=stored)
    with step("load data") as tell:
        listed = prepare.list_images(order, tell)
    with step("load backbone"):
        if order.keras:
            load_tensorflow()
        backbone = order.backbone_source.load(options.backbone, options.asked)
        trunk = prepare.cut(order, backbone, listed, silent)
        files = TrunkFiles(trunk, options.cache)
        looked = prepare.look_at_all(order, files, listed, first_look(order, waits=False), silent)
        data = prepare.split_data(listed, looked, trunk, options.seed)
        data = prepare.featurize_all(order, looked, data, silent)
    with step("calibrate"):
        calibration = decode_calibration(data, options.calibration, options.seed)
    with step("lower") as tell:
        trunks = prepare.lower(order, files, calibration, tell)
    with step("plan"):
        wanted = [w for w in looks_again(order, files, trunks) if not stored.has(*w)]
        if not wanted:
            raise UsageError(
                f"{store.name}: all that a build looks at is planned; run it: tlc features run {store.name}"
            )
        return stored.add_pass(wanted, seen_again(data))
