"""Assemble a bundle's files and its manifest from what the build found."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.duplicates import count_groups
from tlc_edge.compiler.data.looks import LOOKS
from tlc_edge.compiler.extras.find import extra_files
from tlc_edge.compiler.limits.check import DeviceFit
from tlc_edge.compiler.network.facts import facts_of
from tlc_edge.compiler.records import Floats, Fused, Outputs
from tlc_edge.compiler.report.document import report_json
from tlc_edge.compiler.report.evidence import Evidence
from tlc_edge.compiler.report.findings import Findings, find
from tlc_edge.compiler.report.page import report_html
from tlc_edge.compiler.report.settings import to_manifest
from tlc_edge.compiler.toolchain import versions
from tlc_edge.compiler.verify.golden import choose_golden, png
from tlc_edge.compiler.verify.judge import Judged, Reference, run_engine
from tlc_edge.compiler.verify.statistics import wilson
from tlc_edge.compiler.weights.pins import arrays_sha256
from tlc_edge.runtime.bundle.bundle import CARD, CARD_INPUT, EXEMPLARS, EXPECTED, labels_text
from tlc_edge.runtime.bundle.manifest import Decision, Manifest, Unknown, fingerprint
from tlc_edge.runtime.engines.golden import golden_name, pack_expected
from tlc_edge.runtime.images.load import load_image
from tlc_edge.runtime.knn.unknown import KNOWNNESS, Knownness, pack_knownness
from tlc_edge.targets import Target

from .exemplars import pack_exemplars
from .none_of_these import show_foreign
from .test_card import draw_card
from .unknown import Rule, StoredRows, count_mistakes

_LIBRARIES = (
    "tlc-edge",
    "tensorflow",
    "keras",
    "numpy",
    "onnx",
    "tf2onnx",
    "scikit-learn",
    "Pillow",
    "ai-edge-litert",
    "onnxruntime",
)
# benchmarks/few_shot.py: with 3 to 15 neighbours, a temperature of 0.03 to 0.1 and a weight of 0.3 to 0.7, all over
# icons, chess pieces and digits were within a point of each other; the means of all classes bring most of a point.
DECISION = Decision(k=5, temperature=0.03, mean=0.5, balance=1.0, means=1.0, means_temperature=0.04)


_LOOKED_AT = 200  # test images that are looked at in other ways; more would cost time and tell little


@dataclass(frozen=True, eq=False)
class Assembled:
    """A bundle, ready to be written."""

    manifest: Manifest
    files: dict[str, bytes]
    findings: Findings


def assemble(
    evidence: Evidence,
    target: Target,
    judged: Sequence[Judged],
    fits: Sequence[DeviceFit],
    unknown_rate: float,
    name: str,
) -> Assembled:
    """Make the bundle of one target; `judged` holds its files, the one its device prefers first, `fits` what they need.

    `name` is that of its file or folder: the report says which bundle it is about.

    Raises:
        BuildError: something that the bundle gets beside its models cannot be made.
    """
    fused, first = evidence.reference.fused, judged[0].file.info
    stored = _stored(evidence, judged[0])
    measured = evidence.unknown[first.format, first.scheme]
    knownness, mistakes = _mistakes(evidence, judged[0], stored, Rule(measured, unknown_rate, DECISION.k))
    manifest = replace(
        _manifest(fused, target, first.scheme),
        models=tuple(j.file.info for j in judged),
        unknown=Unknown(unknown_rate, tuple(round(float(score), 5) for score in knownness.base)),
        metrics=_metrics(evidence, judged, fits, mistakes),
    )
    files: dict[str, bytes] = {
        **{j.file.info.file: j.file.data for j in judged},
        "labels.txt": labels_text(fused.labels).encode(),
        EXEMPLARS: pack_exemplars(*stored.shipped()),
        KNOWNNESS: pack_knownness(knownness),
        **extra_files(target, fused, [j.file for j in judged], fits),
        **_golden(evidence.reference, judged),
    }
    findings = find(manifest, evidence, judged)
    files["report.html"] = report_html(findings, evidence.pictures, name)
    files["report.json"] = report_json(findings)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return Assembled(replace(manifest, files=hashes), files, findings)


def _manifest(fused: Fused, target: Target, scheme: str) -> Manifest:
    """Return what a manifest says of the float graph and the device, before there are files and measurements."""
    described = _describe(fused)
    # The order of the passes moves pixels by one level at most, so what was taught without it stays good.
    preprocessing = {key: value for key, value in asdict(fused.preprocessing).items() if key != "passes"}
    return Manifest(
        fingerprint=fingerprint({**described, "scheme": scheme, "preprocessing": preprocessing}),
        labels=fused.labels,
        preprocessing=fused.preprocessing,
        models=(),
        embedding_width=fused.neck.width,
        decision=DECISION,
        scheme=scheme,
        target={
            **{"name": target.name, "title": target.title, "threads": target.threads},
            **({"peak_memory_bytes": target.peak_memory_bytes} if target.peak_memory_bytes else {}),
            "expect": [asdict(figure) for figure in target.expect],
            **({"notes": list(target.notes)} if target.notes else {}),
        },
        backbone={**asdict(fused.trunk.backbone.provenance), **described["backbone"]},
        shave=described["shave"],
        neck=described["neck"],
        head={"kind": fused.head.kind, **fused.head.notes},
        versions=_versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _golden(reference: Reference, judged: Sequence[Judged]) -> dict[str, bytes]:
    """Return the golden samples, the test card, and what each file gives for them."""
    chosen = choose_golden(reference.outputs.probabilities)
    spec = reference.fused.preprocessing
    drawn = draw_card(spec.height, spec.width)
    card = load_image(drawn, spec)
    return {
        EXPECTED: pack_expected(
            {j.file.info.file: (j.outputs.probabilities[chosen], j.outputs.embeddings[chosen]) for j in judged},
            {j.file.info.file: _outputs(run_engine(j.engines[0], card[None])) for j in judged},
        ),
        **{golden_name(i): png(reference.held_out.images[g]) for i, g in enumerate(chosen.tolist())},
        CARD: png(drawn),
        CARD_INPUT: png(card),
    }


def _outputs(given: Outputs) -> tuple[Floats, Floats]:
    return given.probabilities, given.embeddings


def _stored(evidence: Evidence, first: Judged) -> StoredRows:
    """Return the exemplars as the device's file embeds them."""
    fused, exemplars = evidence.reference.fused, evidence.exemplars
    embeddings = first.embed(exemplars.samples, fused.preprocessing)
    return StoredRows(embeddings, exemplars.classes, enrolled=not fused.head.layers)


def _mistakes(evidence: Evidence, first: Judged, stored: StoredRows, rule: Rule) -> tuple[Knownness, dict[str, Any]]:
    """Return what the bundle is to judge by, and the mistakes on test images and on foreign ones.

    None are counted where nothing is stored.
    """
    held_out = evidence.reference.held_out
    known = held_out.is_test & (len(stored.classes) > 0)
    test, spec = first.outputs.embeddings[known], evidence.reference.fused.preprocessing
    foreign = None
    if evidence.foreign is not None:
        there = len(evidence.foreign.samples) if len(stored.classes) else 0
        foreign = first.embed(evidence.foreign.samples[:there], spec, images=evidence.foreign.images[:there])
    some = np.flatnonzero(known)
    samples = [held_out.samples[i] for i in some[np.linspace(0, len(some) - 1, min(_LOOKED_AT, len(some))).astype(int)]]
    embedded = first.embed_views(samples, spec, list(LOOKS.values()))
    looked = dict(zip(LOOKS, embedded, strict=True)) if samples else {}

    def count(knownness: Knownness) -> dict[str, Any]:
        return count_mistakes(knownness, rule.rate, rule.k, stored, test, held_out.truth[known], foreign, looked)

    mistakes = count(rule.knownness)
    validation = first.outputs.embeddings[~held_out.is_test]
    shown = None if foreign is None else show_foreign(rule, stored, validation, foreign)
    if shown is None:
        return rule.knownness, mistakes
    return shown.knownness, {
        **count(shown.knownness),
        "false_accepts": int(shown.passed.sum()),
        "none_of_these": {
            "images": shown.count,
            "false_alarms_without": mistakes["false_alarms"],
            "false_accepts_without": mistakes["false_accepts"],
        },
    }


def _describe(fused: Fused) -> dict[str, Any]:
    """Return what decides the meaning of an embedding, but for scheme and preprocessing."""
    trunk, neck = fused.trunk, fused.neck
    matrices = [m for m in (neck.kernel, neck.bias) if m is not None]
    return {
        "backbone": {"name": trunk.backbone.name},
        "shave": {
            "layer": trunk.layer,
            "pool": trunk.pool,
            "width": trunk.width,
            "trunk_sha256": facts_of(trunk).weights_sha256,
        },
        "neck": {
            "kind": neck.kind,
            "width": neck.width,
            "sha256": arrays_sha256(matrices),
            **({"reads": "square roots"} if neck.root else {}),
        },
    }


def _metrics(
    evidence: Evidence, judged: Sequence[Judged], fits: Sequence[DeviceFit], mistakes: dict[str, Any]
) -> dict[str, Any]:
    data, reference = evidence.data, evidence.reference
    truth = reference.held_out.truth
    arenas = {fit.file: fit.arena for fit in fits if fit.arena is not None}
    return {
        "images": dict(sorted(data.counts.items())),
        **({"data_sha256": data.sha256} if data.digests else {}),
        "skipped": len(data.skipped),
        "duplicates": count_groups(data.duplicates),
        "held_out": len(truth),
        "float": _accuracy(reference.answers, truth),
        "models": {
            j.file.info.file: {
                **_accuracy(j.answers, truth),
                "engine": j.score.engine,
                "agreement": round(j.score.agreement or 0.0, 5),
                "embedding_cosine": round(j.score.embedding_cosine or 0.0, 5),
                **({"arena_bytes": arenas[j.file.info.file]} if j.file.info.file in arenas else {}),
            }
            for j in judged
        },
        "unknown": mistakes,
        "settings": to_manifest(evidence.settings),
    }


def _accuracy(answers: NDArray[np.int64], truth: NDArray[np.int64]) -> dict[str, Any]:
    correct = int(np.count_nonzero(answers == truth))
    low, high = wilson(correct, len(truth))
    return {
        "correct": correct,
        "accuracy": round(correct / len(truth), 5),
        "interval": [round(low, 4), round(high, 4)],
    }


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **versions(*_LIBRARIES),
    }
