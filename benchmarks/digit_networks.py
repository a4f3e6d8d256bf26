"""Networks for 28x28 digits, as `--backbone benchmarks/digit_networks.py:make_classifier` takes them."""

from __future__ import annotations

from typing import Any

from keras import Sequential, layers

LATENT = 10


def make_encoder() -> Any:
    return Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(16, 5, 2, "same", activation="relu", name="conv1"),
            layers.Conv2D(32, 5, 2, "same", activation="relu", name="conv2"),
            layers.Flatten(name="flat"),
            layers.Dense(200, activation="relu", name="code_dense"),
            layers.Dense(LATENT, name="latent"),
        ],
        name="encoder",
    )


def make_autoencoder() -> Any:
    decoder = [
        layers.Dense(200, activation="relu", name="decode_dense"),
        layers.Dense(7 * 7 * 32, activation="relu", name="decode_map"),
        layers.Reshape((7, 7, 32), name="reshape"),
        layers.Conv2DTranspose(16, 5, 2, "same", activation="relu", name="up1"),
        layers.Conv2DTranspose(1, 5, 2, "same", activation="sigmoid", name="up2"),
    ]
    return Sequential([*make_encoder().layers, *decoder], name="autoencoder")


def make_classifier() -> Any:
    return Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(16, 5, 2, "same", activation="relu", name="conv1"),
            layers.Conv2D(32, 5, 2, "same", activation="relu", name="conv2"),
            layers.Flatten(name="flat"),
            layers.Dense(200, activation="relu", name="dense"),
            layers.Dense(10, activation="softmax", name="scores"),
        ],
        name="classifier",
    )
