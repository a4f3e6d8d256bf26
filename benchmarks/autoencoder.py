"""Features learned without labels: an autoencoder's convolutions, restored by pattern, against training from scratch.

    python benchmarks/autoencoder.py [--epochs 30] [--repeats 3] [--small] [--keep FOLDER]

Trains a convolutional autoencoder on 4,000 digits without their labels and saves its checkpoint. Then a
classifier with the same convolutions gets them from the checkpoint (`--restore 'conv.*'`), frozen, and its
dense layers are trained on a few labelled digits; the same network is trained from scratch on the same ones.
Needs the compiler and sample extras.

Accuracy on 1,000 other digits, mean of three draws (30 epochs, TensorFlow 2.21):

    labels a class  restored, frozen  from scratch
                10             0.824         0.793
                50             0.911         0.889
               200             0.942         0.940
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LABELS_A_CLASS = (10, 50, 200)
TEST = 1000


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the sample digits, [N, 28, 28, 1] from 0 to 1, and what they show, in an order that mixes them."""
    from tlc_edge.compiler.data.load import load_dataset

    samples = load_dataset("sample:digits").samples
    order = np.random.default_rng(0).permutation(len(samples))
    images = np.stack([np.asarray(samples[i].source, np.float32) for i in order])[..., None] / 255
    return images, np.array([int(samples[i].label) for i in order])


def train_autoencoder(images: NDArray[np.float32], epochs: int, folder: Path) -> tuple[str, float]:
    """Train on images alone; returns the checkpoint and the error of a pixel on the training images."""
    import keras
    import tensorflow as tf
    from digit_networks import make_autoencoder

    keras.utils.set_random_seed(0)
    model = make_autoencoder()
    model.compile("adam", "binary_crossentropy", metrics=["mae"])
    history = model.fit(images, images, batch_size=64, epochs=epochs, verbose=0)
    return tf.train.Checkpoint(model=model).save(str(folder / "autoencoder.ckpt")), history.history["mae"][-1]


def train_classifier(checkpoint: str | None, images: Any, truth: Any, seed: int, epochs: int) -> Any:
    """Train all of it from scratch, or, with a checkpoint, the dense layers on its frozen convolutions."""
    import keras
    from digit_networks import make_classifier

    from tlc_edge.compiler.weights.tf_checkpoint import restore

    keras.utils.set_random_seed(seed)
    model = make_classifier()
    if checkpoint is not None:
        table = restore(model, checkpoint, ["conv.*"])
        assert [r.variable for r in table if r.outcome == "restored"] == [
            "conv1/kernel", "conv1/bias", "conv2/kernel", "conv2/bias",
        ]  # fmt: skip
        for layer in model.layers:
            layer.trainable = not layer.name.startswith("conv")
    model.compile("adam", "sparse_categorical_crossentropy")
    # As many steps for few images as for many.
    model.fit(images, truth, batch_size=32, epochs=max(1, epochs * 2000 // len(images)), verbose=0)
    return model


def choose(truth: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Return indices of `count` images of each class."""
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.permutation(np.flatnonzero(truth == c))[:count] for c in range(10)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30, help="of the autoencoder")
    parser.add_argument("--repeats", type=int, default=3, help="draws of labelled images")
    parser.add_argument("--small", action="store_true", help="a minute's version, to see that it runs")
    parser.add_argument("--keep", type=Path, help="folder for the checkpoint")
    given = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    epochs, repeats, counts = (3, 1, (10, 50)) if given.small else (given.epochs, given.repeats, LABELS_A_CLASS)

    images, truth = digits()
    rest, test = images[:-TEST], images[-TEST:]
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint, error = train_autoencoder(rest, epochs, folder)
        print(f"autoencoder on {len(rest)} digits, {epochs} epochs: mean error of a pixel {error:.4f}")
        print("labels a class  restored, frozen  from scratch")
        for count in counts:
            found: dict[str, list[float]] = {"restored": [], "scratch": []}
            for seed in range(repeats):
                rows = choose(truth[:-TEST], count, seed)
                for name, start in (("restored", checkpoint), ("scratch", None)):
                    model = train_classifier(start, rest[rows], truth[rows], seed, 4 if given.small else 10)
                    answers = np.argmax(np.asarray(model(test, training=False)), axis=1)
                    found[name].append(float(np.mean(answers == truth[-TEST:])))
            print(f"{count:14d}  {np.mean(found['restored']):16.3f}  {np.mean(found['scratch']):12.3f}")
        if given.keep:
            print(
                "\ntlc build --data sample:digits --target rpi "
                "--backbone benchmarks/digit_networks.py:make_classifier "
                f"--weights {checkpoint} --restore 'conv.*' --pool flatten"
            )


if __name__ == "__main__":
    main()
