"""What the shards of a store hold, as a build takes it: the images of the first pass, and features of the others."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.forms.address import told
from tlc_edge.compiler.data.forms.elsewhere import scratch
from tlc_edge.compiler.data.load import finish
from tlc_edge.compiler.data.records import Dataset, Origin, Reading, Sample, Skipped, refuse
from tlc_edge.compiler.data.views import View
from tlc_edge.compiler.features.featurize import Featurized, TrunkFile
from tlc_edge.compiler.records import Floats
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import DataError, UsageError
from tlc_edge.runtime.images.nothing import SIDE
from tlc_edge.runtime.progress import Count, silent

from .costs import Worker, by_worker, read_costs
from .plan import SHARDS as DEFAULT_SHARDS
from .plan import plan_again, write_trunk
from .records import Pass, Plan, read_plan
from .rows import Half, Row, require_pyarrow, unpack
from .run import Runner, source_of
from .store import SHARDS, Store

IN_MEMORY = 50_000
"""Images whose features a build holds in memory; of more they lie in a file of the scratch folder."""


@dataclass(frozen=True)
class State:
    """How far a pass is."""

    number: int
    shards: int
    done: int
    missing: tuple[int, ...]
    images: int
    """That are listed; of files that hold many, files."""
    read_images: int
    """That were looked at in the shards that are there."""
    read: int
    """Bytes of these."""
    seconds: float
    """That the shards took, of all workers together."""
    processor: float
    """The same, of their processors."""
    workers: tuple[Worker, ...] = ()
    """What each of them did of it."""


def states(store: Store) -> list[State]:
    """Return how far each pass of a store is.

    Raises:
        DataError: it has no plan.
    """
    plan, passes = read_plan(store)
    there = store.names(SHARDS)
    found: list[State] = []
    for one in passes:
        missing = tuple(i for i in range(len(one.lists)) if _file(one, plan, i) not in there)
        costs = read_costs(store, _recipes(plan, one))
        state = State(
            number=one.number,
            shards=len(one.lists),
            done=len(one.lists) - len(missing),
            missing=missing,
            images=sum(one.counts),
            read_images=sum(c.images for c in costs),
            read=sum(c.read for c in costs),
            seconds=sum(c.seconds for c in costs),
            processor=sum(c.processor for c in costs),
            workers=by_worker(costs),
        )
        found.append(state)
    return found


def _recipes(plan: Plan, one: Pass) -> list[str]:
    return [one.shard(plan, i)[1] for i in range(len(one.lists))]


def _file(one: Pass, plan: Plan, index: int) -> str:
    return one.shard(plan, index)[0].partition("/")[2]


def open_stored(where: str, cluster: str | None = None) -> Stored:
    """Return the features in a store; what it lacks is made by a cluster, where one is named.

    Raises:
        DataError: it holds no plan, or what is needed to read it is missing.
    """
    if cluster is None:
        return Stored(Store(where))
    from .cluster import ray_runner

    return Stored(Store(where), ray_runner(cluster))


class Stored:
    """The features of a store, and how to get those that it lacks."""

    def __init__(self, store: Store, run: Runner | None = None) -> None:
        require_pyarrow()
        self.store = store
        self.plan, self.passes = read_plan(store)
        self.run = run
        self._rows: list[Row] = []
        """Of the images that can be used, in the order of the data set."""

    def make(self, one: Pass, progress: Count = silent) -> None:
        """Make the shards of a pass that are missing.

        Raises:
            DataError: nobody is there to do it; says how many are missing and how to make them.
        """
        there = self.store.names(SHARDS)
        missing = [i for i in range(len(one.lists)) if _file(one, self.plan, i) not in there]
        if missing and self.run is None:
            raise DataError(
                f"{self.store.name}: {len(missing)} of {len(one.lists)} shards of pass {one.number} are missing, the "
                f"first {missing[0]}; make them: tlc features run {self.store.name}"
            )
        if missing and self.run is not None:
            self.run(self.store, self.plan, one, progress)

    def workers(self) -> tuple[Worker, ...]:
        """Return what each worker did for the shards of all passes."""
        recipes = [recipe for one in self.passes for recipe in _recipes(self.plan, one)]
        return by_worker(read_costs(self.store, recipes))

    def check_trunk(self, trunk: TrunkFile, preprocessing: Preprocessing) -> None:
        """Check that a build's trunk, and how it gets its images, are those that were planned with.

        Raises:
            UsageError: it is another.
        """
        look = self.passes[0].looks[0]
        if trunk.fingerprint != look.fingerprint or preprocessing != self.plan.preprocessing:
            said = ", ".join(
                f"{name} {value}" for name, value in self.plan.options.items() if name in ("backbone", "shave", "pool")
            )
            raise UsageError(
                f"{self.store.name}: planned with another trunk than this build has ({said}); give the same "
                "--backbone, --shave and --pool, or plan again"
            )

    def dataset(self, labelled: Origin, *, strict: bool, progress: Count = silent) -> tuple[Dataset, Featurized]:
        """Return the data set and what the first pass saw of it, in the order that one machine would have.

        Raises:
            DataError: shards are missing or damaged, or it is no data set.
        """
        first, plan = self.passes[0], self.plan
        self.make(first, progress)
        rows, order = self._all(first)
        skipped = [Skipped(name, reason, label) for name, reason, label in plan.skipped]
        samples = [_sample(rows[i]) for i in order]
        if first.held:
            reading = Reading(labelled, "", None, silent, lambda _: [], skipped, list(plan.notes), [plan.recognised])
            dataset = replace(finish(samples, reading, strict), origin=plan.origin)
        else:
            if strict and skipped:
                raise refuse(skipped)
            labels = tuple(sorted({s.label for s in samples}))
            dataset = Dataset(tuple(samples), labels, tuple(skipped), plan.origin, plan.notes, plan.recognised)
        place = np.full(len(rows), -1, np.int64)
        kept = [i for i in order if rows[i].reason is None]
        place[kept] = np.arange(len(kept))
        self._rows = [rows[i] for i in kept]
        features = room((len(kept), first.looks[0].width))
        thumbnails = self._thumbnails(kept)
        self._read(first, 0, place, features)
        lost = tuple(Skipped(rows[i].name, str(rows[i].reason), rows[i].label) for i in order if rows[i].reason)
        of_row = {id(rows[i]): sample for i, sample in zip(order, samples, strict=True)}
        found = Featurized(
            samples=tuple(of_row[id(row)] for row in self._rows),
            features=features,
            thumbnails=thumbnails,
            skipped=lost,
            cached=0,
            digests=tuple(row.digest for row in self._rows),
        )
        return dataset, found

    def prepare(
        self, wanted: Sequence[tuple[TrunkFile, View]], samples: Sequence[Sample], progress: Count = silent
    ) -> None:
        """Have the features made that will be asked for, in one pass; where nobody makes them, the build does itself.

        Raises:
            TlcError: a shard cannot be made.
        """
        missing = [(trunk, view) for trunk, view in wanted if self._look(trunk, view, samples) is None]
        if not missing or self.run is None:
            return
        one = self.add_pass(missing, samples)
        self.make(one, progress)

    def has(self, trunk: TrunkFile, view: View) -> bool:
        """Return whether a pass is planned that looks at images in this way; its shards may be missing."""
        alike = (trunk.fingerprint, view.id, trunk.width)
        return any(alike == (look.fingerprint, look.view, look.width) for one in self.passes for look in one.looks)

    def add_pass(self, wanted: Sequence[tuple[TrunkFile, View]], samples: Sequence[Sample]) -> Pass:
        """Write a pass that looks at images in more ways.

        Raises:
            DataError: it cannot be written.
        """
        looks = [write_trunk(self.store, trunk, view.id) for trunk, view in wanted]
        of_name = {row.name: row for row in self._rows}
        rows = [of_name[sample.name] for sample in samples]
        shards = max(len(self.passes[0].lists), DEFAULT_SHARDS if self.passes[0].held else 1)
        one = plan_again(self.store, len(self.passes), looks, rows, shards)
        self.passes = (*self.passes, one)
        return one

    def features(
        self, trunk: TrunkFile, view: View, samples: Sequence[Sample], progress: Count = silent
    ) -> Floats | None:
        """Return what a trunk gives for images in a view, [N, F]; None where the store lacks it.

        Raises:
            DataError: a shard is damaged, or an image could not be read again or is another.
        """
        found = self._look(trunk, view, samples)
        if found is None:
            return None
        one, look = found
        names = {sample.name: i for i, sample in enumerate(samples)}
        digests = {row.name: row.digest for row in self._rows if row.name in names}
        features: Floats = room((len(samples), trunk.width))
        for done, (rows, halves) in enumerate(self._shards(one, [look])):
            places = np.array([names.get(row.name, -1) for row in rows], np.int64)
            lost = next((row for row in rows if row.reason is not None and row.name in names), None)
            if lost is not None:
                raise DataError(f"{lost.name}: {lost.reason}, and it could be read before; plan and run again")
            other = next((row for row in rows if row.digest and digests.get(row.name, row.digest) != row.digest), None)
            if other is not None:
                raise DataError(f"{other.name}: changed between two passes; plan and run again in a new store")
            _put(features, places, halves[0])
            progress(done + 1, len(one.lists))
        return features

    def _look(self, trunk: TrunkFile, view: View, samples: Sequence[Sample]) -> tuple[Pass, int] | None:
        there: set[str] | None = None
        for one in self.passes:
            for i, look in enumerate(one.looks):
                if (look.fingerprint, look.view, look.width) != (trunk.fingerprint, view.id, trunk.width):
                    continue
                there = self.store.names(SHARDS) if there is None else there
                whole = all(_file(one, self.plan, k) in there for k in range(len(one.lists)))
                if whole and {sample.name for sample in samples} <= self._names(one):
                    return one, i
        return None

    def _names(self, one: Pass) -> set[str]:
        return {row.name for rows, _ in self._shards(one, []) for row in rows}

    def _shards(self, one: Pass, looks: Sequence[int]) -> Iterator[tuple[list[Row], list[Half]]]:
        for index in range(len(one.lists)):
            name, recipe = one.shard(self.plan, index)
            rows, halves = unpack(self.store.read(name), recipe, f"{self.store.name}/{name}", looks)
            widths = [one.looks[i].width for i in looks]
            if (not one.held and len(rows) != one.counts[index]) or [half.shape[1] for half in halves] != widths:
                raise DataError(f"{self.store.name}/{name}: a damaged shard; remove it and run the shard again")
            yield rows, halves

    def _all(self, one: Pass) -> tuple[list[Row], list[int]]:
        """Return the rows of a pass without thumbnails, and their order in the data set."""
        rows: list[Row] = []
        for some, _ in self._shards(one, []):
            rows += [replace(row, thumbnail=b"", label=sys.intern(row.label)) for row in some]
        _check_names(rows)
        if not one.held:
            return rows, list(range(len(rows)))
        return rows, sorted(range(len(rows)), key=lambda i: (rows[i].label, rows[i].name))

    def _thumbnails(self, kept: Sequence[int]) -> NDArray[np.uint8]:
        channels = self.plan.preprocessing.channels
        found: NDArray[np.uint8] = room((len(kept), SIDE, SIDE, channels), np.uint8)
        place = {index: i for i, index in enumerate(kept)}
        number = 0
        for some, _ in self._shards(self.passes[0], []):
            for row in some:
                if number in place:
                    if len(row.thumbnail) != SIDE * SIDE * channels:
                        raise DataError(f"{row.name}: its shard is damaged; remove it and run the shard again")
                    found[place[number]] = np.frombuffer(row.thumbnail, np.uint8).reshape(SIDE, SIDE, channels)
                number += 1
        return found

    def _read(self, one: Pass, look: int, place: NDArray[np.int64], features: NDArray[Any]) -> None:
        number = 0
        for rows, halves in self._shards(one, [look]):
            places = place[number : number + len(rows)]
            _put(features, places, halves[0])
            number += len(rows)


def _check_names(rows: Sequence[Row]) -> None:
    """Check that a name is that of one image, since the passes know images by their names."""
    known: dict[str, Row] = {}
    for row in rows:
        first = known.setdefault(row.name, row)
        if (first.url, first.start, first.row) != (row.url, row.start, row.row):
            places = " and ".join(told(one.url) for one in (first, row))
            raise DataError(f"{row.name}: two images have this name ({places}); rename one file and plan again")


def room(shape: tuple[int, ...], kind: Any = np.float32) -> Any:
    """Return an array for so many rows: in memory for a few, else in a file that goes when Python ends.

    Of features the file holds float16, which is all that they have.
    """
    if shape[0] <= IN_MEMORY:
        return np.empty(shape, kind)
    with tempfile.NamedTemporaryFile(dir=scratch(), delete=False) as file:
        return np.memmap(Path(file.name), np.float16 if kind is np.float32 else kind, "w+", shape=shape)


def _put(features: NDArray[Any], places: NDArray[np.int64], found: NDArray[Any]) -> None:
    if features.dtype == np.float16 and found.dtype != np.float16:
        raise DataError(
            f"this trunk gives features that float16 does not hold; more than {IN_MEMORY:,} images are kept in it: "
            "take fewer, or another --shave"
        )
    features[places[places >= 0]] = found[places >= 0]


def _sample(row: Row) -> Sample:
    return Sample(source_of(row), row.label, row.split, row.name, row.group)
