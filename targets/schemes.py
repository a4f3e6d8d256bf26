"""The quantization schemes: one row each. Whoever asks anything about a scheme asks this table.

A scheme is added with a row here and a function that lowers to it, in the module of its format (`LOWERINGS` in
`tlc_edge.compiler.lower`). What the command line offers, what a target may start from, the ladder's next rung, what a
file of the scheme must hold and how large it comes follow from the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_BYTES = {"float32": 4, "float16": 2, "int8": 1}


@dataclass(frozen=True)
class Holds:
    """What a file must be made of to bear a scheme's name. Types are spelled as the format's content reader does."""

    activations: frozenset[str] | None = None
    """The only types in which operations may compute; None: any."""
    computes: tuple[frozenset[str], ...] = ()
    """Of each of these groups of types, at least one operation must compute in one."""
    weights: frozenset[str] | None = None
    """The only types that weights may have; None: any."""
    keeps: frozenset[str] = frozenset()
    """Types of weights that there must be."""
    float_weights: float = 1.0
    """The largest share of the weights' bytes that may be float32: the smallest constants often stay as they are."""
    float_operations: float = 1.0
    """The largest share of the operations that may compute in float32."""
    large_only: bool = False
    """Whether `weights` is about large constants alone."""


@dataclass(frozen=True)
class Form:
    """A scheme in one file format."""

    holds: Holds
    between: str
    """The type of what flows between layers, for people."""
    next: tuple[str, ...] = ()
    """Schemes to try where this one loses too much; each loses less than the one before it, and has more bytes."""


@dataclass(frozen=True)
class Scheme:
    """How numbers are kept and computed with in a model file."""

    name: str
    weights: str
    """The type that most weights are kept in: float32, float16 or int8."""
    forms: Mapping[str, Form]
    """By format: those that it can be lowered to."""
    summary: str
    """A sentence for people."""
    calibrated: bool = False
    """Whether images must set its ranges."""
    int8_between: bool = False
    """Whether what flows between layers is rounded to 8 bits, with ranges that images set beforehand."""
    all_int8: bool = False
    """Whether a file of it computes in int8 from end to end: only such a one can take or give int8."""
    by_layer: bool = False
    """Whether it must be told which layers stay in float32; none is asked for by name, the ladder takes it."""

    @property
    def bytes_per_weight(self) -> int:
        """Bytes of one weight in a file."""
        return _BYTES[self.weights]


def _only(*types: str) -> frozenset[str]:
    return frozenset(types)


FLOAT32 = Scheme(
    "float32",
    "float32",
    {
        "tflite": Form(Holds(activations=_only("float32"), weights=_only("float32", "int32")), "float32"),
        "onnx": Form(Holds(activations=_only("float32"), weights=_only("float32", "int64", "int32")), "float32"),
    },
    "The network as it was trained: the largest file, and the measure of all others.",
)
FLOAT16 = Scheme(
    "float16",
    "float16",
    {
        "tflite": Form(Holds(keeps=_only("float16"), float_weights=0.05), "float32"),
        "onnx": Form(
            Holds(
                activations=_only("float32"),
                weights=_only("float16", "float32", "int64", "int32"),
                keeps=_only("float16"),
                float_weights=0.05,
            ),
            "float32",
        ),
    },
    "Half the bytes and hardly any loss; weights are made float32 when the file is loaded, so it is no faster.",
)
DYNAMIC = Scheme(
    "dynamic",
    "int8",
    {
        "tflite": Form(
            Holds(activations=_only("float32"), weights=_only("int8"), large_only=True),
            "float32; int8 inside each large layer, scaled image by image",
            ("float16",),
        ),
    },
    "A quarter of the bytes without calibration images; slower than int8.",
)
INT8 = Scheme(
    "int8",
    "int8",
    {
        # An operation that TFLite has in float32 alone, such as ELU, may stay so; more of them make a float file.
        "tflite": Form(
            Holds(activations=_only("int8", "float32"), float_weights=0.0, float_operations=0.25),
            "int8, a scale per layer",
            ("mixed", "int16x8", "float16", "dynamic"),
        ),
        "onnx": Form(
            Holds(computes=(_only("uint8", "int8"),), float_weights=0.0, float_operations=0.25),
            "uint8, a scale per layer",
            ("mixed", "float16"),
        ),
    },
    "A quarter of the bytes, and the fastest on most devices.",
    calibrated=True,
    int8_between=True,
    all_int8=True,
)
INT16X8 = Scheme(
    "int16x8",
    "int8",
    {
        # Pixels become int16 through float32, at the very start; head and neck are float32.
        "tflite": Form(
            Holds(
                activations=_only("int16", "float32"),
                computes=(_only("int16"),),
                weights=_only("int8", "float32", "int32"),
                float_weights=0.05,
            ),
            "int16",
            ("float16", "dynamic"),
        ),
    },
    "A quarter of the bytes and finer steps between layers than int8; few devices have fast kernels for it.",
    calibrated=True,
)
MIXED = Scheme(
    "mixed",
    "int8",
    {
        "tflite": Form(
            Holds(
                activations=_only("int8", "float32"),
                computes=(_only("int8"), _only("float32")),
                keeps=_only("int8", "float32"),
            ),
            "int8, and float32 around the layers that bear it worst",
        ),
        "onnx": Form(
            Holds(computes=(_only("uint8", "int8"),), keeps=_only("int8", "float32")),
            "uint8, and float32 around the layers that bear it worst",
        ),
    },
    "int8 but for the few layers that bear it worst, which stay in float32; the ladder makes it.",
    calibrated=True,
    int8_between=True,
    by_layer=True,
)

SCHEMES: dict[str, Scheme] = {s.name: s for s in (FLOAT32, FLOAT16, DYNAMIC, INT8, INT16X8, MIXED)}
"""Every scheme by its name, in the order in which they are listed."""


def formats() -> tuple[str, ...]:
    """Return the file formats that there are schemes for."""
    return tuple(dict.fromkeys(form for scheme in SCHEMES.values() for form in scheme.forms))


def names(form: str) -> tuple[str, ...]:
    """Return the schemes that can be asked for in a format."""
    return tuple(s.name for s in SCHEMES.values() if form in s.forms and not s.by_layer)


def all_int8(name: str) -> bool:
    """Return whether a file of that scheme computes in int8 from end to end; false for a name that is none."""
    return name in SCHEMES and SCHEMES[name].all_int8


def int8_schemes() -> tuple[str, ...]:
    """Return the schemes whose files compute in int8 from end to end."""
    return tuple(s.name for s in SCHEMES.values() if s.all_int8)


def smaller(form: str, name: str) -> tuple[str, ...]:
    """Return the schemes of a format with fewer bytes per weight, the most exact first; of equals, int8 throughout."""
    each = SCHEMES[name].bytes_per_weight
    found = [SCHEMES[n] for n in names(form) if SCHEMES[n].bytes_per_weight < each]
    return tuple(s.name for s in sorted(found, key=lambda s: (-s.bytes_per_weight, not s.all_int8)))
