"""Small random networks of every layer that tlc takes, in every form that holds them, against the original.

    python tests/grammar.py --count 2000        a long run; a network that differs is named by its number
    python tests/grammar.py --only 1234         one network again, with its layers

A network is a function of its number alone. It is cut at a random layer, its features are compared with those of
Keras' own graph for the same pixels, and the largest difference is told in units of the largest feature.
"""

from __future__ import annotations

import argparse
import collections
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tfjs_files import write_tfjs

from tlc_edge.compiler.backbones.adopt import adopt
from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import cannot_cut, shave
from tlc_edge.compiler.network.layers import nodes
from tlc_edge.compiler.network.pixels import PIXELS, Pixels, fits_channels
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone, Provenance
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.weights.keras_weights import load_weights
from tlc_edge.compiler.weights.tf_checkpoint import restore
from tlc_edge.runtime.errors import TlcError

FORMS = ("net.keras", "net.h5", "tfjs", "saved", "net.weights.h5", "checkpoint")
TOLERANCE = 1e-3  # in float32; where the network itself computes in half precision, HALF
HALF = 5e-2
_ODD = ("a b", "层", "x.y-z", "very_" * 12 + "long", "Ünï", "image", "normalise", "output:0", "1")
_ACTIVATION_NAMES = """
    linear relu relu6 elu selu gelu silu swish sigmoid hard_sigmoid tanh softplus softsign exponential softmax
    leaky_relu mish hard_silu log_softmax celu
"""
_ACTIVATIONS = _ACTIVATION_NAMES.split()


@dataclass(eq=False)
class Maker:
    """Makes one network."""

    draw: random.Random
    half: bool = False
    plain: bool = False
    single: bool = False
    names: list[str] = field(default_factory=list[str])

    def name(self, kind: str) -> str:
        """Return a name that no layer has yet, now and then an odd one."""
        usual = f"{kind}_{len(self.names)}"
        odd = self.draw.choice(_ODD) if self.draw.random() < 0.12 else usual
        odd = usual if self.plain else odd
        name = odd if odd not in self.names else f"{odd}_{len(self.names)}"
        self.names.append(name)
        return name

    def layer(self, kind: str, *args: Any, **more: Any) -> Any:
        """Return a layer, in half precision where the network is."""
        from keras import layers

        if self.half and self.draw.random() < 0.7 and not self.single:
            more["dtype"] = "mixed_float16"
        return getattr(layers, kind)(*args, name=self.name(kind.lower()), **more)

    def activation(self) -> str:
        """Return an activation's name."""
        return self.draw.choice(_ACTIVATIONS)


Step = Callable[[Maker, Any], Any]


def _conv(m: Maker, x: Any) -> Any:
    d = m.draw
    kernel, stride = d.choice((1, 2, 3, (3, 1), 5)), d.choice((1, 1, 2))
    groups = d.choice([g for g in (1, 2, 3) if x.shape[-1] % g == 0])
    dilation = d.choice((1, 1, 2)) if stride == 1 else 1
    padding = d.choice(("same", "valid")) if min(x.shape[1:3]) >= 10 else "same"
    more = {"dilation_rate": dilation, "groups": groups, "use_bias": d.random() < 0.7}
    return m.layer("Conv2D", groups * d.randint(1, 4), kernel, stride, padding, activation=m.activation(), **more)(x)


def _depthwise(m: Maker, x: Any) -> Any:
    d = m.draw
    more = {"depth_multiplier": d.choice((1, 1, 2)), "use_bias": d.random() < 0.7, "activation": m.activation()}
    return m.layer("DepthwiseConv2D", d.choice((1, 3)), d.choice((1, 2)), "same", **more)(x)


def _separable(m: Maker, x: Any) -> Any:
    d = m.draw
    more = {"depth_multiplier": d.choice((1, 2)), "use_bias": d.random() < 0.7, "activation": m.activation()}
    return m.layer("SeparableConv2D", d.randint(2, 6), 3, d.choice((1, 2)), "same", **more)(x)


def _transposed(m: Maker, x: Any) -> Any:
    d = m.draw
    if x.shape[1] > 14:
        return _pool(m, x)
    more = {"use_bias": d.random() < 0.7, "activation": m.activation()}
    return m.layer("Conv2DTranspose", d.randint(2, 5), d.choice((2, 3)), d.choice((1, 2)), "same", **more)(x)


def _norm(m: Maker, x: Any) -> Any:
    d = m.draw
    if d.random() < 0.7:
        flags = {"scale": d.random() < 0.8, "center": d.random() < 0.8, "epsilon": d.choice((1e-3, 1e-5, 0.1))}
        x = m.layer("BatchNormalization", **flags)(x)
    elif d.random() < 0.5:
        x = m.layer("LayerNormalization")(x)
    else:
        x = m.layer("GroupNormalization", d.choice([g for g in (1, 2, 3) if x.shape[-1] % g == 0]))(x)
    return _activate(m, x) if d.random() < 0.5 else x


def _activate(m: Maker, x: Any) -> Any:
    d = m.draw
    made = [
        lambda: m.layer("Activation", m.activation()),
        lambda: m.layer("ReLU", max_value=d.choice((None, 1.0, 6.0)), negative_slope=d.choice((0.0, 0.1))),
        lambda: m.layer("ReLU", threshold=0.3),
        lambda: m.layer("LeakyReLU", negative_slope=0.2),
        lambda: m.layer("ELU", alpha=0.7),
        lambda: m.layer("PReLU", shared_axes=[1, 2]),
        lambda: m.layer("Softmax"),
    ]
    return d.choice(made)()(x)


def _pool(m: Maker, x: Any) -> Any:
    d = m.draw
    if min(x.shape[1:3]) < 4:
        return x
    kind = d.choice(("MaxPooling2D", "AveragePooling2D"))
    return m.layer(kind, d.choice((2, 3)), d.choice((1, 2)), d.choice(("same", "valid")))(x)


def _move(m: Maker, x: Any) -> Any:
    d = m.draw
    if min(x.shape[1:3]) < 5 or max(x.shape[1:3]) > 24:
        return x
    made = [
        lambda: m.layer("ZeroPadding2D", d.choice((1, ((0, 1), (0, 1)), ((1, 0), (2, 1))))),
        lambda: m.layer("Cropping2D", ((1, 0), (0, 1))),
        lambda: m.layer("UpSampling2D", 2, interpolation=d.choice(("nearest", "bilinear"))),
        lambda: m.layer("Permute", (2, 1, 3)),
    ]
    return d.choice(made)()(x)


def _idle(m: Maker, x: Any) -> Any:
    d = m.draw
    kinds = ("Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise", "AlphaDropout")
    return m.layer(d.choice(kinds), 0.4)(x)


def _squeeze_and_excite(m: Maker, x: Any) -> Any:
    d, width = m.draw, x.shape[-1]
    s = m.layer("GlobalAveragePooling2D", keepdims=d.random() < 0.5)(x)
    if len(s.shape) == 2:
        s = m.layer("Reshape", (1, 1, width))(s)
    kind = d.choice(("Dense", "Conv2D"))
    more = () if kind == "Dense" else (1,)
    s = m.layer(kind, max(1, width // 2), *more, activation="relu")(s)
    s = m.layer(kind, width, *more, activation=d.choice(("sigmoid", "hard_sigmoid")))(s)
    return m.layer("Multiply")([x, s])


def _branch(m: Maker, x: Any) -> Any:
    d = m.draw
    kind = d.choice(("Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract", "Concatenate"))
    one = m.layer("Conv2D", x.shape[-1], 3, padding="same", activation=m.activation())(x)
    two = x if d.random() < 0.6 else m.layer("DepthwiseConv2D", 3, padding="same")(x)
    if d.random() < 0.3:
        one = m.layer("BatchNormalization")(one)
    return m.layer(kind)([one, two])


def _shared(m: Maker, x: Any) -> Any:
    layer = m.layer("Conv2D", x.shape[-1], 3, padding="same", activation=m.draw.choice(("relu", "tanh")))
    norm = m.layer("BatchNormalization")
    return m.layer("Add")([norm(layer(x)), layer(norm(x)) if m.draw.random() < 0.5 else layer(layer(x))])


def _nested(m: Maker, x: Any) -> Any:
    from keras import Input, Model, Sequential

    d = m.draw
    if d.random() < 0.5:
        first = Input(x.shape[1:])
        inner = Model(first, _steps(m, first, d.randint(1, 3), _PLAIN), name=m.name("model"))
    else:
        steps = [m.layer("Conv2D", 4, 3, padding="same"), m.layer("BatchNormalization"), m.layer("ReLU")]
        inner = Sequential([Input(x.shape[1:]), *steps], name=m.name("sequential"))
    return inner(x)


def _operators(m: Maker, x: Any) -> Any:
    return m.draw.choice((lambda: x * 0.5 + 0.25, lambda: 1.0 - x, lambda: x / 3.0, lambda: -x, lambda: x + x))()


_PLAIN: tuple[Step, ...] = (_conv, _conv, _depthwise, _separable, _transposed, _norm, _norm, _activate, _pool, _move)
_ALL: tuple[Step, ...] = (*_PLAIN, _idle, _squeeze_and_excite, _branch, _branch, _shared, _nested, _operators)


def _steps(m: Maker, x: Any, count: int, kinds: Sequence[Step]) -> Any:
    for _ in range(count):
        x = m.draw.choice(kinds)(m, x)
    return x


def _begin(m: Maker, x: Any) -> Any:
    """Put preprocessing before the network, of one of the kinds that there are."""
    d, channels = m.draw, x.shape[-1]
    mean = [float(d.randint(90, 140)) for _ in range(channels)]
    variance = [float(d.randint(2000, 4000)) for _ in range(channels)]
    made: list[Callable[[], Any]] = [
        lambda: x,
        lambda: x,
        lambda: m.layer("Rescaling", 1 / 127.5, -1.0)(x),
        lambda: m.layer("Rescaling", 1 / 255)(x),
        lambda: m.layer("Normalization", mean=mean, variance=variance)(x),
        lambda: m.layer("Normalization", axis=-1)(m.layer("Rescaling", 1 / 255)(x)),
        lambda: (x - np.array(mean, np.float32)) / np.array([60.0] * channels, np.float32),
        lambda: x / 127.5 - 1.0,
        lambda: m.layer("Rescaling", 1 / 255)(m.layer("Resizing", 14, 12)(x)),
        lambda: m.layer("RandomFlip")(m.layer("Rescaling", 1 / 255)(x)),
        lambda: x[..., ::-1] / 128.0 - 1.0,
        lambda: m.layer("Rescaling", 1 / 255)(m.layer("CenterCrop", 12, 12)(x)),
    ]
    return d.choice(made)()


def _end(m: Maker, x: Any) -> Any:
    d = m.draw
    kind = d.random()
    if kind < 0.35:
        return x
    if kind < 0.6:
        x = m.layer(d.choice(("GlobalAveragePooling2D", "GlobalMaxPooling2D")))(x)
    elif kind < 0.85:
        x = m.layer("Flatten")(x)
        x = m.layer("Dense", 6, activation=m.activation())(x)
        x = m.layer("Dropout", 0.3)(x) if d.random() < 0.5 else x
    else:
        x = m.layer("GlobalAveragePooling2D")(m.layer("Conv2D", 3, 3, padding="same")(x))
        return m.layer("Activation", "softmax")(x)
    return m.layer("Dense", d.choice((1, 4)), activation=d.choice(("softmax", "sigmoid", "linear")))(x)


def make(number: int, *, plain: bool = False, single: bool = False) -> Any:
    """Return the Keras network of a number, with its weights.

    With `plain`, no layer has an odd name; with `single`, no layer computes in half precision.
    """
    import keras
    from keras import Input, Model

    keras.backend.clear_session()
    draw = random.Random(number)
    m = Maker(draw, half=draw.random() < 0.12, plain=plain, single=single)
    x = start = Input((draw.randint(12, 18), draw.randint(12, 18), draw.choice((1, 3, 3))), name=m.name("input"))
    x = _begin(m, x)
    x = _conv(m, x)
    x = _end(m, _steps(m, x, draw.randint(1, 6), _ALL))
    if x is start:
        x = _conv(m, x)
    model = Model(start, x, name="net")
    generator = np.random.default_rng(number)
    set_weights(model, generator)
    return model


def set_weights(model: Any, generator: np.random.Generator) -> None:
    """Give a network weights as after training: nothing grows or dies on its way through."""
    from tlc_edge.compiler.weights.derived import derive_state

    for v in model.weights:
        name, shape = v.path.rpartition("/")[2], tuple(v.shape)
        if "seed" in name or str(v.dtype).startswith(("int", "uint")):
            continue
        if "variance" in name or name == "gamma":
            value = generator.uniform(0.5, 1.5, shape)
        elif "kernel" in name:
            value = generator.normal(0, 1.2 / np.sqrt(max(1, int(np.prod(shape[:-1])))), shape)
        else:
            value = generator.normal(0, 0.2, shape)
        v.assign(value.astype(np.float32))
    derive_state(model)


@dataclass(frozen=True)
class Outcome:
    """What became of a network in one form."""

    form: str
    difference: float
    half: bool
    refused: str | None = None

    @property
    def wrong(self) -> bool:
        """Whether tlc computes something else."""
        return self.refused is None and not self.difference <= (HALF if self.half else TOLERANCE)


def asked_for(number: int, channels: int) -> Asked:
    """Return what the network of a number is said to have been trained on."""
    fitting = [p for p in PIXELS if fits_channels(p, channels)]
    # Most that begin by normalising take pixels as they are.
    return Asked(pixels=random.Random(number + 1).choice([*fitting, *["0..255"] * len(fitting)]))


def images_for(model: Any, number: int) -> NDArray[np.uint8]:
    """Return two images that fit a network, each of its own colour: noise alone is the same to an average."""
    draw, shape = np.random.default_rng(number), model.inputs[0].shape[1:]
    colours = draw.integers(0, 190, (2, 1, 1, shape[-1]))
    return (colours + draw.integers(0, 66, (2, *shape))).astype(np.uint8)


def as_trained_on(images: NDArray[np.uint8], pixels: Pixels) -> NDArray[np.float32]:
    """Return images as a network is given them where it was made."""
    given = images.astype(np.float64)
    if images.shape[-1] == 1:  # one channel has no order, and one scale for all
        return np.asarray(given * pixels.scale[0] + pixels.offset[0], np.float32)
    given = given[..., ::-1] if pixels.bgr else given
    return np.asarray(given * np.asarray(pixels.scale) + np.asarray(pixels.offset), np.float32)


def export(model: Any, path: Path) -> None:
    """Write a SavedModel of a network as it is in use: `model.export` writes some of them as they are in training."""
    import tensorflow as tf
    from keras.export import ExportArchive

    archive = ExportArchive()
    archive.track(model)
    spec = tf.TensorSpec([None, *model.inputs[0].shape[1:]], tf.float32)
    archive.add_endpoint("serve", lambda image: model(image, training=False), [spec])
    archive.write_out(str(path), verbose=False)


def loaded(model: Any, number: int, form: str, folder: Path) -> Backbone:
    """Return a network as tlc has it, by way of a file."""
    import tensorflow as tf

    asked, path = asked_for(number, model.inputs[0].shape[3]), folder / form
    if form in ("net.keras", "net.h5"):
        model.save(path)
    elif form == "tfjs":
        write_tfjs(model, path)
    elif form == "saved":
        export(model, path)
    else:
        other = make(number)
        for v in other.weights:
            if "seed" not in v.path:
                v.assign(np.ones(v.shape))
        if form == "checkpoint":
            restore(other, tf.train.Checkpoint(model=model).save(str(path)))
        else:
            model.save_weights(path)
            load_weights(other, path)
        return adopt("net", other, asked, Provenance("made for a test", "0" * 64, "none", "nothing"))
    return load_backbone(str(path), asked)


def compare(model: Any, number: int, form: str, folder: Path) -> Outcome:
    """Save a network in one form, load it with tlc, cut it somewhere, and compare the features."""
    half = any("16" in str(getattr(v, "compute_dtype", "")) for v in model._flatten_layers())
    try:
        backbone = loaded(model, number, form, folder)
    except TlcError as e:
        return Outcome(form, 0.0, half, str(e))
    draw = random.Random(number)
    steps = nodes(backbone.model)
    cuts = [backbone.default_shave] if form == "saved" else [n.name for n in steps if not cannot_cut(n, steps[0].name)]
    whole = form == "saved"
    layer = draw.choice(cuts)
    while cuts:
        layer = cuts.pop(draw.randrange(len(cuts)))
        if original_of(model, backbone, layer, whole) is not None:
            break
    else:
        return Outcome(form, 0.0, half, "no layer to compare at")
    pool = draw.choice(("avg", "max", "flatten"))
    trunk = shave(backbone, layer, pool)
    images = images_for(model, number)
    spec = backbone.input
    grey = images if images.shape[-1] == spec.channels else images[..., :1]
    found = np.asarray(trunk.model((grey.astype(np.float32) - spec.mean) / spec.std, training=False), np.float64)
    given = as_trained_on(images, PIXELS[asked_for(number, images.shape[3]).pixels or ""])
    # tlc computes in single precision: where that is far from half, the network is not for half.
    originals = [model, *([make(number, plain=whole, single=True)] if half else [])]
    wanted = [original_of(original, backbone, layer, whole) for original in originals]
    features = [np.asarray(original(given, training=False), np.float64) for original in wanted]
    return Outcome(form, min(difference(found, pooled(f, pool)) for f in features), half)


def pooled(features: NDArray[np.float64], pool: str) -> NDArray[np.float64]:
    """Return features [N, F] of what a layer gives."""
    if features.ndim != 4:
        return features
    ways = {"avg": features.mean((1, 2)), "max": features.max((1, 2)), "flatten": features.reshape(len(features), -1)}
    return ways[pool]


def difference(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Return the largest difference in units of the largest value; what overflows must do so in both."""
    finite = np.isfinite(expected)
    if not np.array_equal(np.where(finite, 0, expected), np.where(np.isfinite(found), 0, found), equal_nan=True):
        return float("nan")
    scale = float(np.abs(expected[finite]).max(initial=0)) or 1.0
    return float(np.abs(found[finite] - expected[finite]).max(initial=0)) / scale


def original_of(model: Any, backbone: Backbone, layer: str, whole: bool) -> Any:
    """Return the original up to what a layer of the backbone gives; None where that has no one name there."""
    from keras import Model
    from keras.layers import InputLayer

    if whole:
        return model
    names = [step.name for step in model.operations]
    merged = [name for name, into in backbone.merged.items() if into == layer and name in names]
    after = max([n for n in (layer, *merged) if n in names], key=names.index, default=None)
    step = None if after is None else model.operations[names.index(after)]
    if step is None or len(step._inbound_nodes) != 1 or isinstance(step, Model | InputLayer):
        return None  # an input that is called as tlc's own first layer is not that
    return Model(model.input, step.output)


def run(
    numbers: Sequence[int], forms: Sequence[str] = FORMS, seconds: float | None = None
) -> list[tuple[int, Outcome]]:
    """Compare each network in one of the forms, in turn; stops after so many seconds."""
    load_tensorflow()
    end = None if seconds is None else time.monotonic() + seconds
    found: list[tuple[int, Outcome]] = []
    for number in numbers:
        if end is not None and time.monotonic() > end:
            break
        form = forms[number % len(forms)]
        model = make(number, plain=form == "saved")  # TensorFlow's scopes cannot have all names
        with tempfile.TemporaryDirectory() as folder:
            found.append((number, compare(model, number, form, Path(folder))))
    return found


def main() -> None:
    """Run many, and print what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--only", type=int, default=None)
    given = parser.parse_args()
    load_tensorflow()
    if given.only is not None:
        make(given.only).summary(expand_nested=True)
    numbers = [given.only] if given.only is not None else range(given.first, given.first + given.count)
    largest: dict[tuple[str, bool], float] = collections.defaultdict(float)
    counts: collections.Counter[str] = collections.Counter()
    end = None if given.seconds is None else time.monotonic() + given.seconds
    for number in numbers:
        if end is not None and time.monotonic() > end:
            break
        forms = FORMS if given.only is not None else (FORMS[number % len(FORMS)],)
        for form in forms:
            try:
                ((_, outcome),) = run([number], (form,))
            except Exception as e:  # what is not a TlcError is a defect of its own
                outcome = Outcome(form, float("nan"), False, None)
                print(f"{number} {form}: {type(e).__name__}: {str(e)[:300]}", flush=True)
            counts[form] += 1
            if outcome.refused is not None:
                counts[f"{form} refused"] += 1
                print(f"{number} {form} refused: {outcome.refused[:240]}", flush=True)
            elif outcome.wrong or given.only is not None:
                print(f"{number} {form}: {outcome.difference:.3g}{' half' if outcome.half else ''}", flush=True)
            if outcome.refused is None and not outcome.wrong:
                key = (form, outcome.half)
                largest[key] = max(largest[key], outcome.difference)
    print(dict(counts))
    for (form, half), value in sorted(largest.items()):
        print(f"{form}{' in half precision' if half else ''}: largest difference {value:.2g}")


if __name__ == "__main__":
    main()
