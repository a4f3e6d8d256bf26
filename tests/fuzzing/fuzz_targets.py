"""What is attacked: each kind of input that a stranger may hand over, a small corpus of it, and what is done with one.

The corpus is made here. `run` does with bytes what tlc does with such a file; what it raises besides a TlcError is a
finding.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import shutil
import sqlite3
import sys
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_mutations import HOSTILE
from PIL import Image

from tlc_edge.runtime.bundle.bundle import EXEMPLARS, Bundle, write_bundle
from tlc_edge.runtime.bundle.manifest import Manifest, ModelFile, Preprocessing, Unknown, from_json, to_json
from tlc_edge.runtime.errors import BuildError, GalleryError, ImageError, TlcError, TrustError
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.records import ExampleSource
from tlc_edge.runtime.gallery.recover import recover
from tlc_edge.runtime.gallery.transfer import export
from tlc_edge.runtime.images.load import load_image
from tlc_edge.runtime.images.named import named_images
from tlc_edge.runtime.signing.minisign import PublicKey, Signature, read_public, read_signature

PRINT, WIDTH = "ab" * 32, 4
SPEC = Preprocessing(12, 16)
Run = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """A kind of input."""

    name: str
    prepare: Callable[[Path], tuple[list[bytes], Run]]
    """From a folder of its own to the corpus, and what is done with one input."""
    needs: str | None = None
    """A module without which there is nothing to attack."""


def small_bundle(folder: Path) -> Path:
    """Write a bundle whose model is no model: loading a bundle does not open it."""
    exemplars = io.BytesIO()
    vectors, scales = np.eye(4, dtype=np.int8) * 100, np.full(4, 0.01, np.float32)
    np.savez(exemplars, vectors=vectors, scales=scales, labels=np.array([0, 0, 1, 1], np.int32))
    files = {"model.tflite": b"TFL3 and so on", "labels.txt": b"a\nb\n", EXEMPLARS: exemplars.getvalue()}
    manifest = Manifest(
        fingerprint="0" * 64,
        labels=("a", "b"),
        preprocessing=Preprocessing(8, 8),
        models=(ModelFile("model.tflite", "tflite", "int8", len(files["model.tflite"])),),
        embedding_width=4,
        unknown=Unknown(0.05, (0.1, 0.2)),
        scheme="int8",
        files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    )
    path = folder / "small.tlc"
    write_bundle(path, manifest, files, force=True)
    return path


def _manifest(folder: Path) -> tuple[list[bytes], Run]:
    return [to_json(Bundle.open(small_bundle(folder)).manifest)], lambda data: _ignore(from_json(data, "a manifest"))


def _whole_bundle(folder: Path) -> tuple[list[bytes], Run]:
    path = small_bundle(folder)
    seed = path.read_bytes()

    def run(data: bytes) -> None:
        path.write_bytes(data)
        opened = Bundle.open(path)
        for file in opened.manifest.files:
            opened.read(file)
        opened.exemplars()

    return [seed], run


def _exemplars(folder: Path) -> tuple[list[bytes], Run]:
    start = Bundle.open(small_bundle(folder))

    def run(data: bytes) -> None:
        replace(start, files={**start.files, EXEMPLARS: data}).exemplars()

    return [start.files[EXEMPLARS]], run


def taught(path: Path) -> bytes:
    """Write a small gallery with a history; return its bytes."""
    remove(path)
    with Gallery.open(path, PRINT, WIDTH, create=True) as gallery:
        for label, first in (("cup", 0), ("mug", 3), ("old", 6)):
            vectors = np.eye(4, dtype=np.float32)[[0, 1, 2]] + first
            pictures = picture("JPEG", (8, 8))
            gallery.add(label, vectors, [ExampleSource(f"{first + i:064x}", f"{i}.jpg", pictures) for i in range(3)])
        gallery.rename("old", "older")
        gallery.forget("older")
    return path.read_bytes()


def remove(path: Path) -> None:
    """Remove a gallery with what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _use(path: Path) -> None:
    """Do with a gallery all that can be done, each on what the one before left; the first refusal does not end it."""
    refused: list[str] = []

    def tried(act: Callable[[], object]) -> None:
        try:
            act()
        except TlcError as e:
            refused.append(str(e))  # not the error: its frames would go on reading

    out = path.with_name("out")
    remove(out)
    with Gallery.open_any(path) as gallery:
        for act in (gallery.classes, gallery.examples, gallery.load, gallery.check, lambda: export(gallery, out)):
            tried(act)
    with Gallery.open_any(path, read_only=False) as gallery:
        for act in (gallery.undo, gallery.undo, lambda: gallery.rename("mug", "jug"), lambda: gallery.forget("cup")):
            tried(act)
    if refused:
        raise GalleryError(refused[0])


def _gallery(folder: Path) -> tuple[list[bytes], Run]:
    path = folder / "g"
    seed = taught(path)

    def run(data: bytes) -> None:
        remove(path)
        path.write_bytes(data)
        _use(path)

    return [seed], run


def _gallery_rows(folder: Path) -> tuple[list[bytes], Run]:
    path = folder / "g"
    seed = taught(path)
    values = [v for v in HOSTILE if not isinstance(v, list | dict | bool) and v not in ("\ud800",)] + [
        b"",
        b"\xff" * 20,
        bytes(4),
    ]
    with closing(sqlite3.connect(path)) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = [(t, row[1]) for t in tables for row in db.execute(f"PRAGMA table_info({t})")]

    def run(data: bytes) -> None:
        chance = random.Random(data)
        remove(path)
        path.write_bytes(seed)
        with closing(sqlite3.connect(path)) as db:
            for _ in range(1 + chance.randrange(3)):
                table, column = chance.choice(columns)
                value = chance.choice(values)
                if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
                    value = float(value)
                where = "" if chance.random() < 0.3 else f" WHERE rowid % 3 = {chance.randrange(3)}"
                with suppress(sqlite3.Error):
                    db.execute(f"UPDATE {table} SET {column} = ?{where}", (value,))
            db.commit()
        _use(path)

    return [bytes([i]) * 8 for i in range(4)], run


def _recover(folder: Path) -> tuple[list[bytes], Run]:
    path, out = folder / "g", folder / "out"
    seed = taught(path)

    def run(data: bytes) -> None:
        remove(path)
        remove(out)
        path.write_bytes(data)
        recover(path, out, PRINT, WIDTH)
        with Gallery.open_any(out) as gallery:
            assert gallery.check() == []

    return [seed], run


def picture(kind: str, size: tuple[int, int], **how: Any) -> bytes:
    """Return a picture as a file."""
    out = io.BytesIO()
    noise = np.random.default_rng(7).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).convert(how.pop("mode", "RGB")).save(out, kind, **how)
    return out.getvalue()


def _image(_folder: Path) -> tuple[list[bytes], Run]:
    seeds = [picture(kind, (17, 13)) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")]
    seeds += [
        picture("JPEG", (33, 9), progressive=True),
        picture("PNG", (9, 9), mode="P"),
        picture("PNG", (9, 9), mode="I;16"),
    ]
    return seeds, lambda data: _ignore(load_image(data, SPEC))


def _images_in_zip(folder: Path) -> tuple[list[bytes], Run]:
    path = folder / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3):
            archive.writestr(f"in/{i}.png", picture("PNG", (5 + i, 5)))
    seed = path.read_bytes()

    def run(data: bytes) -> None:
        path.write_bytes(data)
        problems: list[str] = []
        for named in named_images([str(path)]):
            try:
                load_image(named.source, SPEC)
            except TlcError as e:
                problems.append(str(e))
        if problems:
            raise ImageError(problems[0])

    return [seed], run


def _keys(_folder: Path) -> tuple[list[bytes], Run]:
    public = PublicKey(bytes(range(8)), bytes(range(32)))
    signature = Signature(bytes(8), bytes(64), "serial 1", bytes(64))

    def run(data: bytes) -> None:
        read = read_signature if data.count(b"\n") > 2 else read_public
        try:
            read(data)
        except ValueError as e:  # its message is part of a TrustError
            raise TrustError(f"key: {e}") from None

    return [public.file, signature.file], run


def _network() -> Any:
    from tlc_edge.compiler.toolchain import load_tensorflow

    load_tensorflow()
    import keras

    inner = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(4, 1, name="one")], name="inner")
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(4, 3, padding="same", name="conv")(image))
    x = keras.layers.Add(name="add")([inner(x), keras.layers.ReLU(6.0, name="relu")(x)])
    x = keras.layers.Flatten(name="flat")(keras.layers.ZeroPadding2D(1, name="pad")(x))
    return keras.Model(image, keras.layers.Dense(3, activation="softmax", name="dense")(x), name="net")


def _keras_configuration(_folder: Path) -> tuple[list[bytes], Run]:
    from tlc_edge.compiler.weights.keras_config import network_from_config

    model = _network()

    def run(data: bytes) -> None:
        try:
            topology = json.loads(data)
        except (ValueError, RecursionError):
            raise BuildError("net: not JSON") from None
        network_from_config(topology, "net", 3, 5_000)

    chain = {"class_name": "Sequential", "config": {"name": "s", "layers": []}}
    chain["config"]["layers"] = [  # type: ignore[index]  # as Keras 2 writes it
        {
            "class_name": "Conv2D",
            "config": {"name": "c", "filters": 4, "kernel_size": [3, 3], "batch_input_shape": [None, 8, 8, 3]},
        },
        {"class_name": "Dense", "config": {"name": "d", "units": 3, "activation": "softmax"}},
    ]
    return [model.to_json().encode(), json.dumps(chain).encode()], run


def _keras_file(folder: Path) -> tuple[list[bytes], Run]:
    """The whole `.keras` file; the weights in it as HDF5, read by a confined process."""
    from tlc_edge.compiler.weights.keras_file import load_keras_file

    path = folder / "net.keras"
    _network().save(path)
    return [path.read_bytes()], _on_file(path, load_keras_file)


def _hdf5(folder: Path) -> tuple[list[bytes], Run]:
    import h5py

    from tlc_edge.compiler.weights.read_confined import read_content

    path = folder / "net.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": []})
        for i in range(3):
            file[f"model_weights/l{i}/kernel"] = np.ones((4, 4), np.float32)
    return [path.read_bytes()], _on_file(path, read_content)


def _on_file(path: Path, read: Callable[[Path], object]) -> Run:
    def run(data: bytes) -> None:
        path.write_bytes(data)
        read(path)

    return run


def _tensorflow_js(folder: Path) -> tuple[list[bytes], Run]:
    from tfjs_files import write_tfjs

    from tlc_edge.compiler.weights.tfjs import load_tfjs

    shutil.rmtree(folder / "js", ignore_errors=True)
    write_tfjs(_network(), folder / "js")
    path = folder / "js" / "model.json"
    return [path.read_bytes()], _on_file(path, load_tfjs)


def _saved_model(folder: Path) -> tuple[list[bytes], Run]:
    """The graph of a SavedModel, in a child as `rehearse` has it; forked, so that TensorFlow is imported once."""
    from tlc_edge.compiler.backbones.saved_model import read_network
    from tlc_edge.compiler.options import Asked
    from tlc_edge.compiler.weights.confine import bound_memory, confine_to_reading

    where = folder / "sm"
    # In another process: whoever forks must not have begun to compute.
    script = (
        "import sys; from fuzz_targets import _network; m = _network(); import keras; "
        "keras.Model(m.input, m.get_layer('flat').output).export(sys.argv[1], verbose=False)"
    )
    import subprocess

    subprocess.run(
        [sys.executable, "-c", script, str(where)],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
    )
    import tensorflow  # noqa: F401

    path = where / "saved_model.pb"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            with suppress(BaseException):
                for number in (1, 2):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), number)
                confine_to_reading(60)
                bound_memory(4 << 30)
                try:
                    read_network(str(where), Asked())
                    said = b"well"
                except TlcError as e:
                    said = f"{e}".encode("utf-8", "replace")
                except MemoryError:
                    said = b"net: asks for more memory"
                except Exception as e:
                    said = f"net: cannot be read ({type(e).__name__})".encode()
                os.write(writer, said)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read(100_000).decode()
        os.waitpid(child, 0)
        if said != "well":
            raise BuildError(said or "net: reading it ended the process")

    return [path.read_bytes()], run


def _data(path: Path, given: Path | None = None) -> Run:
    from tlc_edge.compiler.data.load import Origin, load_dataset

    def read(_path: Path) -> None:
        cache = path.parent.parent / "cache"
        try:
            load_dataset(Origin(str(given or path), cache=str(cache), crop="boxes" if given else None))
        finally:
            shutil.rmtree(cache, ignore_errors=True)

    return _on_file(path, read)


def _zip(folder: Path) -> tuple[list[bytes], Run]:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("cat/1.png", "dog/1.png", "dog/2.png"):
            archive.writestr(name, picture("PNG", (5, 5)))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("l.csv", "path,label\n1.png,a\n2.png,b\n")
        archive.writestr("1.png", picture("PNG", (5, 5)))
        archive.writestr("2.png", picture("PNG", (6, 5)))
    return [out.getvalue(), packed.getvalue()], _data(folder / "data.zip")


def _tar(folder: Path) -> tuple[list[bytes], Run]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("cat/1.png", "dog/1.png"):
            data = picture("PNG", (5, 5))
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            entry = tarfile.TarInfo(f"dog/{kind.decode()}.png")
            entry.type, entry.linkname = kind, "../../../etc/passwd"
            archive.addfile(entry)
    return [out.getvalue()], _data(folder / "data.tar")


def _list(folder: Path) -> tuple[list[bytes], Run]:
    for name in "12":
        (folder / f"{name}.png").write_bytes(picture("PNG", (5, 5)))
    out = io.StringIO()
    csv.writer(out).writerows([("path", "label", "split"), ("1.png", "a", "train"), ("2.png", "b", "test")])
    other = "filename,cat,dog\n1.png,1,0\n2.png,0,1\n"
    return [out.getvalue().encode(), other.encode()], _data(folder / "list.csv")


def _npz(folder: Path) -> tuple[list[bytes], Run]:
    out = io.BytesIO()
    np.savez(out, images=np.zeros((4, 6, 6, 3), np.uint8), labels=np.array(["a", "b", "a", "b"]))
    packed = io.BytesIO()
    np.savez_compressed(packed, x=np.zeros((4, 6, 6), np.uint8), y=np.array([0, 1, 0, 1]))
    return [out.getvalue(), packed.getvalue()], _data(folder / "data.npz")


def _export(folder: Path) -> tuple[list[bytes], Run]:
    (folder / "export").mkdir(exist_ok=True)
    for name in "12":
        (folder / "export" / f"{name}.png").write_bytes(picture("PNG", (40, 40)))
    boxes = [{"id": i, "image_id": i, "category_id": i, "bbox": [1, 1, 30, 30]} for i in (1, 2)]
    images = [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 40} for i in (1, 2)]
    coco = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}
    return [json.dumps(coco).encode()], _data(folder / "export" / "_annotations.coco.json", folder / "export")


def _ignore(_found: object) -> None:
    pass


TARGETS = (
    Target("manifest", _manifest),
    Target("bundle", _whole_bundle),
    Target("exemplars", _exemplars),
    Target("gallery", _gallery),
    Target("rows of a gallery", _gallery_rows),
    Target("recover", _recover),
    Target("picture", _image),
    Target("images in a zip", _images_in_zip),
    Target("keys and signatures", _keys),
    Target("Keras configuration", _keras_configuration, "tensorflow"),
    Target(".keras", _keras_file, "tensorflow"),
    Target("HDF5", _hdf5, "h5py"),
    Target("SavedModel", _saved_model, "tensorflow"),
    Target("TensorFlow.js", _tensorflow_js, "tensorflow"),
    Target("zip", _zip),
    Target("tar", _tar),
    Target("list", _list),
    Target("npz", _npz),
    Target("export", _export),
)
