"""The order: what a build is asked for, checked as far as can be before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tlc_edge.compiler.backbones.find import Source, find_backbone, formats_of
from tlc_edge.compiler.backbones.own_labels import labels_from
from tlc_edge.compiler.data.augment import copies
from tlc_edge.compiler.data.views import View
from tlc_edge.compiler.extras.find import require_extras
from tlc_edge.compiler.fine_tune.step import check_fine_tune
from tlc_edge.compiler.limits.check import check_target
from tlc_edge.compiler.lower.file_kinds import FileKind, TrunkKind, file_kinds, trunk_kinds
from tlc_edge.compiler.shards.stored import Stored, open_stored
from tlc_edge.compiler.site.site import check_site
from tlc_edge.compiler.site.vendor import vendored
from tlc_edge.compiler.train.heads import check_head
from tlc_edge.compiler.verify.demands import Demands
from tlc_edge.runtime.bundle.bundle import check_writable
from tlc_edge.runtime.errors import BuildError, UsageError
from tlc_edge.runtime.knn.unknown import checked_rate
from tlc_edge.targets import Target, load_target, with_formats
from tlc_edge.targets.schemes import SCHEMES, names

from .options import Options, check_numbers
from .toolchain import require_toolchain


@dataclass(frozen=True, eq=False)
class Order:
    """What a build is asked for, and what follows from that alone."""

    options: Options
    keras: bool
    """Whether anything of it is done in Keras."""
    backbone_source: Source
    """Where the backbone comes from; it takes what is asked."""
    targets: tuple[Target, ...]
    kinds: Mapping[str, tuple[FileKind, ...]]
    """The files of each target, by its name; the one that its device prefers first."""
    outputs: tuple[Path, ...]
    """Where each target's bundle goes."""
    views: tuple[View, ...]
    """Ways to change the training images, for copies."""
    libraries: Mapping[str, bytes] | None = None
    """What of others a site carries, by name; None where no site is asked for."""
    stored: Stored | None = None
    """Features that were made in shards; None: they are made here."""

    @property
    def files(self) -> tuple[FileKind, ...]:
        """The files of all targets, each once."""
        return tuple(dict.fromkeys(kind for of_target in self.kinds.values() for kind in of_target))

    @property
    def trunks(self) -> tuple[TrunkKind, ...]:
        """The trunks that they are made from, each once."""
        return trunk_kinds(self.files)


def check(options: Options) -> Order:
    """Return the order that options make.

    Raises:
        TlcError: something is asked for that there is not, or that this machine cannot make.
    """
    check_numbers(options)
    checked_rate(options.unknown_rate)
    demands_of(options).check()
    targets = tuple(with_formats(load_target(name), options.formats) for name in options.targets)
    backbone_source = find_backbone(options.backbone, options.asked)
    onnx_only = formats_of(backbone_source) == ("onnx",)
    keras = check_head(options.head).keras or not onnx_only
    _check_formats(options, onnx_only=onnx_only)
    require_toolchain(keras=keras)
    if options.fine_tune is not None:
        check_fine_tune(options.fine_tune)
    if check_head(options.head).of_network:
        if options.fine_tune is not None:
            raise UsageError("--fine-tune: with --head own the network goes on as it is; leave one of them out")
        if options.labels is not None:
            labels_from(options.labels)
    if onnx_only and options.fine_tune is not None:
        raise UsageError(
            f"--fine-tune: {options.backbone} is an ONNX file, which is not trained any further; fine-tune it where it "
            "comes from, or leave it out"
        )
    for target in targets:
        check_target(target)
        require_extras(target)
    kinds = {t.name: file_kinds(t, options.scheme, options.onnx_scheme, onnx_only=onnx_only) for t in targets}
    _check_schemes(trunk_kinds(tuple(kind for of_target in kinds.values() for kind in of_target)))
    return Order(
        options=options,
        keras=keras,
        backbone_source=backbone_source,
        targets=targets,
        kinds=kinds,
        outputs=_outputs(options, targets),
        views=tuple(copies(options.augment, options.copies, options.seed)),
        libraries=None if options.site is None else _libraries(options, options.site, onnx_only=onnx_only),
        stored=None if options.features is None else _stored(options, options.features),
    )


def _stored(options: Options, where: str) -> Stored:
    """Return the features that a build is given."""
    if options.fine_tune is not None:
        raise UsageError("--fine-tune: the features in a store are those of the trunk as it is; leave one of them out")
    if options.limit is not None or options.more or options.crop is not None:
        raise UsageError(
            "--limit, --crop and more than one --data are for the plan, and this store is planned; leave them out"
        )
    asked = {"--labels": options.labels, "--shape": options.shape, "--checksum": options.checksum}
    if check_head(options.head).of_network:  # whose labels these are
        del asked["--labels"]
    idle = [name for name, value in {**asked, "--encoding": options.encoding}.items() if value is not None]
    if idle and options.cluster is None:
        raise UsageError(f"{idle[0]} is for the plan, and this store is planned; leave it out")
    return open_stored(where, options.cluster)


def demands_of(options: Options) -> Demands:
    """Return what the files must reach."""
    return Demands(options.min_accuracy, options.min_class_recall, options.sure)


def _check_formats(options: Options, *, onnx_only: bool) -> None:
    """Refuse what is asked of a file that is left out, or files that cannot be had."""
    if not options.formats:
        return
    said = f"--formats {','.join(options.formats)}"
    if onnx_only and "onnx" not in options.formats:
        raise UsageError(
            f"{said}: {options.backbone} is an ONNX file, of which tlc makes ONNX files alone; leave it out"
        )
    of_scheme = "onnx" if onnx_only else "tflite"  # whose scheme --scheme is
    for form, name, scheme in ((of_scheme, "--scheme", options.scheme), ("onnx", "--onnx-scheme", options.onnx_scheme)):
        if form not in options.formats and scheme is not None:
            raise UsageError(f"{name} {scheme}: {said} leaves that file out")


def _check_schemes(trunks: Sequence[TrunkKind]) -> None:
    for form, scheme in trunks:
        if scheme not in SCHEMES or form not in SCHEMES[scheme].forms:
            named = {"tflite": "TFLite", "onnx": "ONNX"}.get(form, form)
            raise BuildError(f"scheme {scheme!r} has no {named} lowering; choose {', '.join(names(form))}")


def _outputs(options: Options, targets: Sequence[Target]) -> tuple[Path, ...]:
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
    return tuple(paths)


def _libraries(options: Options, site: Path, *, onnx_only: bool) -> dict[str, bytes]:
    """Return what of others a site carries: got before the work, not after it."""
    check_site(site, options.force)
    if options.targets != ("web",):
        raise UsageError(f"a site is for the target web alone, but this is for {', '.join(options.targets)}")
    if options.formats and "tflite" not in options.formats:
        raise UsageError(f"--formats {','.join(options.formats)}: a site runs a TFLite file; leave it out")
    if onnx_only:
        raise UsageError(f"a site runs a TFLite file, and {options.backbone} is an ONNX file, which gives none")
    return vendored(options.vendor, options.cache)
