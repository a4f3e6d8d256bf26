"""What a build chose, and why: a line each, for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tlc_edge.runtime.bundle.manifest import Manifest
from tlc_edge.targets.schemes import SCHEMES

from .evidence import Evidence
from .settings import Settings

_NECKS = {
    "classifier": "the strongest directions of the classifier that was shaved off: it needs no data, "
    "and makes a gallery small",
    "pca": "the principal components of the training features, as the network has no classifier of its own",
    "none": "the features are narrow enough as they are, or too few images to find better ones",
}
_HEADS = {
    "linear": "a logistic regression: trained in seconds, and hard to beat on few images",
    "mlp": "as asked for with --head: one hidden layer, for classes that no plane parts",
    "prototype": "as asked for with --head: the mean of each class, no training",
    "own": "as asked for with --head: the classifier that came with the network, as it is",
    "none": "as asked for with --head: every class is taught on the device",
}


@dataclass(frozen=True)
class Choice:
    """One thing that was chosen."""

    what: str
    value: str
    why: str


def list_choices(manifest: Manifest, evidence: Evidence) -> tuple[Choice, ...]:
    """Return the choices in the order of the build."""
    m, trunk = manifest, evidence.reference.fused.trunk
    spec = m.preprocessing
    default = trunk.layer == trunk.backbone.default_shave
    return (
        Choice("backbone", trunk.backbone.name, f"pretrained on {m.backbone['pretrained_on']}"),
        Choice("input", f"{spec.width} x {spec.height} pixels, {spec.fit}, {spec.filter}", "what the backbone takes"),
        Choice(
            "shave",
            f"{trunk.layer}, {trunk.pool} pooling, {trunk.width} features",
            trunk.reason or (trunk.backbone.default_reason if default else "as asked for with --shave"),
        ),
        Choice("neck", _neck(m), _NECKS.get(str(m.neck["kind"]), "")),
        *_head(m.head),
        *_training(evidence.settings),
        *_files(manifest, evidence),
        Choice(
            "unknown",
            f"{100 * m.unknown.rate:g} % false alarms",
            "the share of known images that may be called unknown; the threshold follows from held-out images",
        ),
        Choice(
            "neighbours",
            f"k = {m.decision.k}, temperature {m.decision.temperature:g}",
            "how many stored examples vote on the device, and how fast a vote fades with distance",
        ),
    )


def _neck(m: Manifest) -> str:
    reads = f" of the features' {m.neck['reads']}" if "reads" in m.neck else ""
    return f"{m.neck['kind']}{reads}, embedding of {m.embedding_width}"


def _head(head: Any) -> list[Choice]:
    kind = str(head["kind"])
    found = [Choice("head", kind, _HEADS.get(kind, "as asked for with --head"))]
    losses = head.get("cross_validated_log_loss")
    if losses:
        tried = ", ".join(f"{strength}: {loss}" for strength, loss in losses.items())
        why = f"the least log loss in cross-validation on the training images ({tried})"
        found.append(Choice("head strength", f"{head['inverse_strength']:g} (inverse)", why))
    if head.get("temperature"):
        why = "the least log loss on training images, each judged by a head that was trained without it"
        found.append(Choice("temperature", f"{head['temperature']:g}", why))
    if "epochs" in head:
        found.append(
            Choice("epochs", str(head["epochs"]), "chosen by how well a part of the training images is answered")
        )
    return found


def _training(settings: Settings) -> list[Choice]:
    found: list[Choice] = []
    if settings.fine_tune is not None:
        why = "layers that were trained on, as asked for with --fine-tune; auto follows the amount of data"
        if not settings.fine_tuned:
            why = "asked for with --fine-tune; there was too little data or no gain, so the network stayed as it was"
        found.append(Choice("fine-tuning", settings.fine_tune, why))
    if not settings.augment:
        return found
    kinds = ", ".join(settings.augment)
    why = "varied copies of each training image, none of a held-out one; as asked for with --augment, or the default"
    return [*found, Choice("augmentation", f"{kinds}: {settings.copies} copies an image", why)]


def _files(manifest: Manifest, evidence: Evidence) -> list[Choice]:
    title = str(manifest.target["title"])
    climbed = evidence.settings.ladder
    found = [
        Choice(
            f"scheme of {model.file}",
            model.scheme,
            f"the first that loses no more than --max-drop: {climbed[model.file]}"
            if model.file in climbed
            else f"the profile of {title}, or --scheme",
        )
        for model in manifest.models
    ]
    if any(SCHEMES[model.scheme].calibrated for model in manifest.models):
        why = "training images that set the int8 ranges, of each class alike; held-out images set none"
        found.append(Choice("calibration set", f"{evidence.settings.calibration} images", why))
    return found
