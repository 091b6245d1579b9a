"""Records learning curves: every configuration of a small space is really trained, shard by shard, on Fashion-MNIST."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._errors import BenchmarkError

PATH = Path(__file__).parent / "fashion_mnist_curves.json"
EPOCHS, SHARDS = 9, 3
CHOICES: dict[str, list[Any]] = {
    "learning_rate": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1],
    "width": [8, 32, 128],
    "optimizer": ["sgd", "adam"],
    "dropout": [0.0, 0.4],
    "activation": ["relu", "tanh"],
}
"""The space; all of its configurations are recorded, so that a tuner may propose any."""

_SHARD_ROWS, _VALID_ROWS, _BATCH = 2_000, 2_000, 100
_PIXELS = 784
_SEED = 20


def record(path: Path, folder: Path, *, configurations: int | None = None) -> None:
    """Train every configuration (or the first so many) and write their validation accuracies after each shard.

    Raises:
        BenchmarkError: Fashion-MNIST is not in `folder`.
    """
    # Before TensorFlow is loaded: others measure on the same machine.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    shards, valid = _data(folder)
    names = list(CHOICES)
    points = list(itertools.product(*CHOICES.values()))[:configurations]
    began = time.perf_counter()
    curves = []
    for number, point in enumerate(points):
        curves.append(_curve(dict(zip(names, point, strict=True)), shards, valid))
        if number % 16 == 0:
            print(f"{number + 1} of {len(points)} after {time.perf_counter() - began:.0f} s", flush=True)
    head = {
        "data": f"Fashion-MNIST: {SHARDS} shards of {_SHARD_ROWS} rows, {_VALID_ROWS} of its test rows to validate",
        "metric": "validation accuracy after each shard",
        "epochs": EPOCHS,
        "shards": SHARDS,
        "choices": CHOICES,
    }
    lines = ",\n".join(json.dumps(curve) for curve in curves)
    path.write_text(json.dumps(head, indent=1)[:-2] + f',\n "curves": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    print(f"{path}: {len(curves)} curves of {EPOCHS * SHARDS} points, {time.perf_counter() - began:.0f} s")


def _curve(values: dict[str, Any], shards: list[Any], valid: tuple[NDArray[Any], NDArray[Any]]) -> list[float]:
    import keras

    keras.utils.set_random_seed(_SEED)
    model = _model(values)
    rng = np.random.default_rng(_SEED)
    accuracies = []
    for _ in range(EPOCHS):
        for rows, labels in shards:
            order = rng.permutation(len(rows))
            for start in range(0, len(rows), _BATCH):
                chosen = order[start : start + _BATCH]
                model.train_on_batch(rows[chosen], labels[chosen])
            found = np.asarray(model.predict_on_batch(valid[0])).argmax(axis=1)
            accuracies.append(round(float((found == valid[1]).mean()), 4))
    keras.backend.clear_session()
    return accuracies


def _model(values: dict[str, Any]) -> Any:
    import keras

    model = keras.Sequential(
        [
            keras.Input((_PIXELS,)),
            keras.layers.Dense(values["width"], activation=values["activation"]),
            keras.layers.Dropout(values["dropout"], seed=_SEED),
            keras.layers.Dense(values["width"], activation=values["activation"]),
            keras.layers.Dense(10),
        ]
    )
    rate = values["learning_rate"]
    optimizer = keras.optimizers.SGD(rate) if values["optimizer"] == "sgd" else keras.optimizers.Adam(rate)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def _data(folder: Path) -> tuple[list[tuple[NDArray[Any], NDArray[Any]]], tuple[NDArray[Any], NDArray[Any]]]:
    rows, labels = _read(folder, "train", SHARDS * _SHARD_ROWS)
    shards = list(zip(np.split(rows, SHARDS), np.split(labels, SHARDS), strict=True))
    return shards, _read(folder, "t10k", _VALID_ROWS)


def _read(folder: Path, name: str, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    paths = folder / f"{name}-images-idx3-ubyte.gz", folder / f"{name}-labels-idx1-ubyte.gz"
    if not all(path.exists() for path in paths):
        raise BenchmarkError(
            f"`--images` must be a folder with Fashion-MNIST's four files. Received: {folder}. Install the Debian "
            "package dataset-fashion-mnist, or run ./download_data.sh fashion-mnist."
        )
    pixels = np.frombuffer(gzip.decompress(paths[0].read_bytes()), np.uint8, offset=16)[: count * _PIXELS]
    labels = np.frombuffer(gzip.decompress(paths[1].read_bytes()), np.uint8, offset=8)[:count]
    return pixels.reshape(-1, _PIXELS).astype(np.float32) / 255, labels.astype(np.int32)
