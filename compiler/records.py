"""The frozen records that flow through a build. Steps take them and return new ones; none is edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.bundle.manifest import ModelFile, Preprocessing
from tlc_edge.runtime.vectors import Floats as Floats


@dataclass(frozen=True)
class InputSpec:
    """What a backbone expects: `(pixel - mean) / std`, NHWC, RGB or grey, pixel from 0 to 255."""

    height: int
    width: int
    channels: int = 3
    mean: float = 127.0
    std: float = 128.0

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image is made to fit it."""
        return Preprocessing(self.height, self.width, self.channels)


@dataclass(frozen=True)
class Provenance:
    """Where a backbone's weights come from."""

    source: str
    sha256: str
    licence: str
    pretrained_on: str


@dataclass(frozen=True, eq=False)
class Classifier:
    """The classifier a backbone was trained with; the neck is made from it."""

    kernel: Floats
    """[features, classes]"""
    bias: Floats
    """[classes]"""
    pool: str = "avg"
    """How the features that it reads come from the feature map at the default shave."""


@dataclass(frozen=True)
class Restored:
    """What became of one variable of a network whose weights come from a checkpoint."""

    variable: str
    outcome: str
    """`restored`, `initial` (kept its initial value), `shape` (did not fit) or `missing` (not in the file)."""
    reason: str


@dataclass(frozen=True, eq=False)
class OwnHead:
    """The classifier that came with a network."""

    layer: str
    """Where the network is cut before it."""
    pool: str
    """How that layer's feature map becomes the vector that it reads."""
    layers: tuple[Dense, ...]
    """The last one a softmax."""


_Record = TypeVar("_Record")


class Later:
    """A network that is loaded when a record that holds it is first asked for its `model`.

    Only what replaces or lowers a network needs it; to load it takes TensorFlow.
    """

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load

    @cached_property
    def model(self) -> Any:
        """The network."""
        return self._load()


class _Model:
    """The field `model` of a record: what it was given, or what comes of it where that is `Later`."""

    def __get__(self, record: Any, kind: type) -> Any:
        if record is None:
            raise AttributeError("model")
        given = record.__dict__["model"]
        return given.model if isinstance(given, Later) else given

    def __set__(self, record: Any, given: Any) -> None:
        record.__dict__["model"] = given


def _may_come_later(kind: type[_Record]) -> type[_Record]:
    """Let the field `model` of a record be given as `Later`."""
    setattr(kind, "model", _Model())  # noqa: B010  # a plain assignment has no type that checkers take
    return kind


@_may_come_later
@dataclass(frozen=True, eq=False)
class Backbone:
    """A pretrained network. `model` is a Keras model from normalised pixels to what its classifier read.

    It is flat (no models inside it), its batch norms are folded, and its last layers may give vectors.
    """

    name: str
    model: Any
    input: InputSpec
    provenance: Provenance
    default_shave: str
    classifier: Classifier | None = None
    default_reason: str = "its last feature map"
    """Why the default shave is the default."""
    removed: tuple[str, ...] = ()
    """Layers of the original that are not in `model`: its classifier and what comes after."""
    merged: Mapping[str, str] = field(default_factory=dict[str, str])
    """Layers of the original that now are part of another one, as a batch norm is of its convolution."""
    restored: tuple[Restored, ...] = ()
    notes: tuple[str, ...] = ()
    """What the user should know: what had to be assumed, whose code was run."""
    own: OwnHead | str = "its classifier is not known"
    """The classifier as a head, or why there is none."""
    labels: tuple[str, ...] | None = None
    """What the classes of that are called, where the file says so or what lies beside it."""


@dataclass(frozen=True)
class Facts:
    """What is known of a trunk of Keras without its network."""

    fingerprint: str
    """A hash of all that decides what it gives; see `network.fingerprint`."""
    weights_sha256: str
    never_negative: bool
    """Whether its features come from a ReLU, through pooling at most."""
    parameters: int
    macs: int | None
    """Multiply-accumulates for one image; None where they cannot be counted."""
    channels: int
    """Of the feature map that it is cut at."""


@_may_come_later
@dataclass(frozen=True, eq=False)
class Trunk:
    """What stays of a backbone after the shave: a Keras model from normalised pixels to pooled features [N, F]."""

    backbone: Backbone
    layer: str
    pool: str
    model: Any
    width: int
    reason: str | None = None
    """Why it was cut there, where the build chose by its images."""
    facts: Facts | None = None
    """Of a trunk that comes from the cache: its network is loaded when it is first asked for."""


@dataclass(frozen=True, eq=False)
class Neck:
    """A linear projection from pooled features, or their square roots, to the embedding: `features @ kernel + bias`."""

    kind: str
    """`classifier`, `pca`, or `none`: the embedding is the pooled features, and there is no kernel."""
    width: int
    kernel: Floats | None = None
    """[F, D]"""
    bias: Floats | None = None
    """[D]"""
    root: bool = False
    """Whether it reads the features' square roots."""

    def project(self, features: Floats) -> Floats:
        """Return the embeddings [N, D] of pooled features [N, F]."""
        if self.kernel is None or self.bias is None:
            return features
        return (signed_root(features) if self.root else features) @ self.kernel + self.bias


def signed_root(x: Floats) -> Floats:
    """Return square roots; of what is below zero, as an alignment may leave it, minus that of its magnitude."""
    return np.copysign(np.sqrt(np.abs(x)), x)


@dataclass(frozen=True, eq=False)
class Looks:
    """Pooled features of changed copies of some training images, as devices' own cameras make them."""

    rows: NDArray[np.int64]
    """Which of the training images, ascending, [n]."""
    features: tuple[Floats, ...] = ()
    """[n, F] for each look."""


NO_LOOKS = Looks(np.zeros(0, np.int64))


@dataclass(frozen=True, eq=False)
class Dense:
    """A fully connected layer: `activation(x @ kernel + bias)`."""

    kernel: Floats
    """[I, O]"""
    bias: Floats
    """[O]"""
    activation: str
    """`linear`, `relu` or `softmax`."""

    def linear(self, x: Floats) -> Floats:
        """Return [N, O] for `x` [N, I], before the activation."""
        return np.asarray(x @ self.kernel + self.bias, np.float32)

    def __call__(self, x: Floats) -> Floats:
        """Return [N, O] for `x` [N, I]."""
        y = self.linear(x)
        if self.activation == "relu":
            return np.maximum(y, 0)
        if self.activation == "softmax":
            y = np.exp(y - y.max(axis=1, keepdims=True))
            return np.asarray(y / y.sum(axis=1, keepdims=True), np.float32)
        return y


@dataclass(frozen=True, eq=False)
class Head:
    """What maps pooled features to class probabilities: dense layers, the last one softmax; none without classes."""

    kind: str
    layers: tuple[Dense, ...]
    notes: dict[str, Any] = field(default_factory=dict[str, Any])
    """How it was chosen; goes into the manifest."""

    def logits(self, features: Floats) -> Floats:
        """Return [N, C] for pooled features [N, F], before the last activation."""
        for layer in self.layers[:-1]:
            features = layer(features)
        return self.layers[-1].linear(features)

    def probabilities(self, features: Floats) -> Floats:
        """Return [N, C] for pooled features [N, F]."""
        for layer in self.layers:
            features = layer(features)
        return features if self.layers else np.zeros((len(features), 0), np.float32)


@dataclass(frozen=True, eq=False)
class Fused:
    """One graph, pixels in, probabilities and embedding out; lowering writes it as a file."""

    trunk: Trunk
    neck: Neck
    head: Head
    labels: tuple[str, ...]
    preprocessing: Preprocessing


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a model gave for each of N images."""

    probabilities: Floats
    """[N, C]; C is 0 for a model without a head."""
    embeddings: Floats
    """[N, D]"""


@dataclass(frozen=True)
class Correction:
    """What the correction of a trunk's biases is worth, on training images that set none of them.

    Rounding is simulated here, layer by layer; what the finished file does is measured on held-out images.
    """

    images: int
    before: float
    """Mean cosine of the features of merely rounded weights to float's."""
    after: float
    """The same with corrected biases."""
    taken: bool
    """Whether the corrected weights were nearer, and taken."""


@dataclass(frozen=True, eq=False)
class LoweredTrunk:
    """The trunk in one target's format: pixels in, `features` out. Heads are attached to it."""

    format: str
    scheme: str
    data: bytes
    correction: Correction | None = None
    """Of a scheme with int8 weights, where it could be tried."""
    refused: str | None = None
    """Why a converter could not make it; the data are empty then."""


@dataclass(frozen=True, eq=False)
class Lowered:
    """One target's file."""

    info: ModelFile
    data: bytes


@dataclass(frozen=True)
class Score:
    """How one model does on the held-out images."""

    file: str
    engine: str
    scheme: str
    bytes: int
    accuracy: float
    agreement: float | None
    """Share of images on which it names the same class as the float graph; None without one to ask."""
    embedding_cosine: float | None
    """Mean cosine of its embedding to the float graph's."""
