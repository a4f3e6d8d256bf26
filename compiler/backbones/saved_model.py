"""A SavedModel or a TF-Hub feature vector on disk, used whole: its graph has no layers to cut at."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tlc_edge.compiler.network.normalise import normalise
from tlc_edge.compiler.network.pixels import PIXELS, check_channels, input_spec
from tlc_edge.compiler.network.whole_pixels import take_floats
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone, Provenance
from tlc_edge.compiler.weights.pins import file_sha256
from tlc_edge.compiler.weights.rehearse import rehearse
from tlc_edge.compiler.weights.saved_graph import FILE, Entry, entries, read_graph
from tlc_edge.runtime.errors import BuildError, first_line
from tlc_edge.runtime.quiet import quiet

from .adopt import USUAL_SIZE
from .check_graph import check_alone, check_chance, check_extent, check_precision
from .refuse import refuse

LAYER = "graph"
_REHEARSED = "tlc_edge.compiler.backbones.rehearse_saved_model"
_WHOLE = "0..255"
_SIGNATURES = ("serving_default", "default", "serve", "image_feature_vector")


def claims(name: str) -> bool:
    """Return whether a path is that of a SavedModel: its folder, or the graph's file in it."""
    path = Path(name)
    return (path / FILE).is_file() if path.is_dir() else path.is_file() and path.name == FILE


def check(name: str, asked: Asked) -> None:
    """Refuse what the graph brings along.

    Raises:
        UsageError: an option is not for it.
    """
    refuse(name, asked, takes=("pixels",))


def reads(name: str, _asked: Asked) -> list[Path] | None:
    """Return the files of graph and weights."""
    return _files(_folder(name))


def load(name: str, asked: Asked) -> Backbone:
    """Load a SavedModel with a signature from one image [N, H, W, C], float32 or uint8, to a vector or a feature map.

    TF-Hub's forms do as well: a TensorFlow 2 one with `__call__(inputs, training)` and no signature, a TensorFlow 1
    module with a graph without tags beside the one for training.

    It is done in a confined process first (`rehearse`). What it was trained on is taken from `asked.pixels`; by
    TF-Hub's convention for images it is 0..1. One of uint8 pixels says so itself.

    Raises:
        BuildError: it is damaged, has no such signature or an operation that is none of a network's, or not this size.
    """
    folder = _folder(name)
    request = {"where": name, "input_size": asked.input_size, "pixels": asked.pixels}
    rehearse(_REHEARSED, request, name, sum(path.stat().st_size for path in _files(folder)))
    return read_network(name, asked)


def read_network(name: str, asked: Asked) -> Backbone:
    """Do what `load` does, in this process.

    Raises:
        BuildError: as `load`.
    """
    from keras import Input, Model

    folder = _folder(name)
    name = folder.resolve().name
    digest = _sha256(folder)
    function, given = _choose(name, folder)
    height, width, channels, notes = _input_shape(name, tuple(given.shape[1:]), asked)
    whole = given.dtype.name == "uint8"
    if whole and asked.pixels not in (None, _WHOLE):
        raise BuildError(f"--pixels {asked.pixels}: {name} takes uint8 pixels, which are {_WHOLE}; leave --pixels out")
    pixels = _WHOLE if whole else asked.pixels or "0..1"
    if asked.pixels is None and not whole:
        notes.append(f"{name} does not say what it was trained on; 0..1 was assumed (see --pixels)")
    check_channels(name, pixels, channels)
    spec, rest = input_spec(PIXELS[pixels], height, width, channels)
    image = Input((height, width, channels), name="image")
    start = image if rest is None else normalise(image, rest, channels)
    try:
        layer = _frozen_graph()(function, given, (height, width, channels), digest, name=LAYER)
        output = layer(start)
        model = Model(image, output, name="backbone")
    except BuildError:
        raise
    except Exception as e:  # TensorFlow raises whatever the graph makes of the size
        raise BuildError(f"{name} cannot be run on {height}x{width} pixels ({first_line(e)})") from None
    if len(output.shape) not in (2, 4) or None in tuple(output.shape[1:]):
        raise BuildError(f"{name} gives {list(output.shape)}, expected a vector or a feature map an image")
    return Backbone(
        name=name,
        model=model,
        input=spec,
        provenance=Provenance(name, digest, "unknown", "unknown"),
        default_shave=LAYER,
        default_reason="its output: a SavedModel has no layers to cut at",
        notes=tuple(notes),
    )


def _folder(name: str) -> Path:
    return Path(name) if Path(name).is_dir() else Path(name).parent


def _files(folder: Path) -> list[Path]:
    """Return what a SavedModel's network is read from.

    Raises:
        BuildError: there is something that is no file.
    """
    found = sorted((folder / FILE, *(folder / "variables").glob("*")))
    odd = next((path for path in found if not path.is_file()), None)
    if odd is not None:  # a pipe that nobody writes to would be waited for
        raise BuildError(f"{odd}: not a file, so this is no SavedModel; copy it again")
    return found


def _sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _choose(name: str, folder: Path) -> tuple[Callable[[Any], Any], Any]:
    """Return a function from an image tensor to the one output, and its input's TensorSpec; a float one if it can."""
    offered = entries(folder, read_graph(folder))
    first = {key: number for number, key in enumerate(_SIGNATURES)}
    offered.sort(key=lambda e: (not e.name, first.get(e.name, len(first)), e.name) if e.name else (True, 0, ""))
    seen: list[str] = []
    whole: list[tuple[Any, str]] = []
    for entry in offered:
        # Made with training=True, it would use the batch's own statistics and drop features.
        mode = " for training" if entry.training else ""
        if entry.name:
            seen.append(f"{entry.name} takes {', '.join(f'{k} {v.dtype.name} {v.shape}' for k, v in entry.takes)}")
        else:
            seen.append(f"its call{mode} takes {', '.join(f'{v.dtype.name} {v.shape}' for _, v in entry.takes)}")
        if len(entry.takes) == 1 and _is_image(entry.takes[0][1]) and not mode:
            what = f"signature {entry.name}" if entry.name else "its call"
            if entry.takes[0][1].dtype.name == "float32":
                return _made(name, what, entry)
            whole.append((entry, what))
    for entry, what in whole:
        return _made(name, what, entry)
    raise BuildError(
        f"{folder}: no signature takes one image of float32 or uint8 [N, H, W, 1 or 3] "
        f"({'; '.join(seen)[:300] or 'it has none'}); save it with such a signature (model.export)"
    )


def _is_image(spec: Any) -> bool:
    return spec.dtype.name in ("float32", "uint8") and spec.shape.rank == 4 and spec.shape[3] in (1, 3, None)


def _made(name: str, what: str, entry: Entry) -> tuple[Callable[[Any], Any], Any]:
    output = 0 if not entry.gives else entry.gives.index(_output(name, what, entry.gives))
    return entry.make(output), entry.takes[0][1]


def _output(name: str, what: str, outputs: Sequence[str]) -> str:
    keys = sorted(outputs)
    if len(keys) == 1:
        return str(keys[0])
    for wanted in ("default", "feature_vector", "embedding", "features"):
        if wanted in keys:
            return wanted
    raise BuildError(f"{name}: {what} gives {', '.join(keys)}, expected one output; save it with one")


def _input_shape(name: str, shape: tuple[int | None, ...], asked: Asked) -> tuple[int, int, int, list[str]]:
    notes: list[str] = []
    height, width, channels = (None if n is None else int(n) for n in shape)
    if height is None or width is None:
        if asked.input_size is None:
            notes.append(
                f"{name} leaves its input's size open; {USUAL_SIZE[0]}x{USUAL_SIZE[1]} was taken (--input-size)"
            )
        height, width = asked.input_size or (height or USUAL_SIZE[0], width or USUAL_SIZE[1])
    elif asked.input_size not in (None, (height, width)):
        raise BuildError(f"--input-size: {name} takes {height}x{width} pixels and no other size")
    return height, width, channels or 3, notes


@functools.cache
def _frozen_graph() -> Any:
    """Return the layer's class; made late, because importing Keras takes seconds."""
    import keras
    import numpy as np
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    base: Any = keras.layers.Layer

    class FrozenGraph(base):  # type: ignore[misc]  # Keras is untyped
        """A graph with its weights as constants; where it takes one image, each goes through by itself."""

        def __init__(self, function: Any, given: Any, shape: tuple[int, ...], digest: str, **rest: Any) -> None:
            super().__init__(trainable=False, **rest)
            self._digest = digest
            dtype, several = given.dtype, given.shape[0] != 1
            with quiet():
                try:
                    self._frozen = self._made(function, dtype, [None, *shape])
                    check_alone(self._frozen, shape, several)
                    self._single = False
                except BuildError:
                    raise
                except Exception:  # whatever a graph for one image makes of two
                    self._frozen = self._made(function, dtype, [1, *shape])
                    self._single = True
            # The layer has no weights; this stands for them wherever weights are hashed.
            seal = np.frombuffer(bytes.fromhex(digest), np.uint8).astype(np.float32)
            self._seal = self.add_weight(shape=seal.shape, trainable=False, name="sha256")
            self._seal.assign(seal)

        def _made(self, function: Any, dtype: Any, shape: list[int | None]) -> Any:
            concrete = tf.function(function).get_concrete_function(tf.TensorSpec(shape, dtype))
            frozen = convert_variables_to_constants_v2(concrete)
            check_extent(frozen.graph)
            check_chance(frozen)
            check_precision(frozen)
            return frozen if dtype == tf.float32 else take_floats(frozen, "the SavedModel")

        def call(self, image: Any) -> Any:
            if not self._single or image.shape[0] == 1:
                return self._one(image)
            shape = self._one(tf.zeros((1, *image.shape[1:]))).shape[1:]
            each = tf.map_fn(lambda one: self._one(one[None])[0], image, fn_output_signature=tf.TensorSpec(shape))
            return tf.ensure_shape(each, [None, *shape])

        def _one(self, image: Any) -> Any:
            output = self._frozen(image)
            return output[0] if isinstance(output, list | tuple) else output

        def get_config(self) -> dict[str, Any]:
            # To tell two graphs apart, not to make one again: that takes the SavedModel.
            return {"name": self.name, "sha256": self._digest}

        def count_params(self) -> int:
            constants = (n for n in self._frozen.graph.as_graph_def().node if n.op == "Const")
            tensors = (n.attr["value"].tensor for n in constants if n.attr["dtype"].type == tf.float32.as_datatype_enum)
            return sum(int(np.prod([d.size for d in t.tensor_shape.dim], dtype=np.int64)) for t in tensors)

    return FrozenGraph
