"""What every side of the W8 comparison shares: arguments, data, the network, and the file of its result.

A side is one script that runs in an environment of its own, from Python 3.10 with TensorFlow 2.10 on, so this file
imports nothing of the project, and TensorFlow only where it is used.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

START = time.time()
"""When this process began to run Python code: a side imports this module first."""


def parse_arguments(more: Callable[[argparse.ArgumentParser], object] | None = None) -> argparse.Namespace:
    """Arguments that the runner gives every side, and those that `more` adds for one."""
    parser = argparse.ArgumentParser(description="One side of the W8 comparison; `python -m benchmarks w8` runs it.")
    parser.add_argument("--data", type=Path, required=True, help="directory with train.parquet and valid.parquet")
    parser.add_argument("--candidates", type=Path, required=True, help="JSON list of the candidates")
    parser.add_argument("--scratch", type=Path, required=True, help="empty directory for whatever the side writes")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the result")
    parser.add_argument("--workers", type=int, default=2, help="workers of one thread each")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    if more is not None:
        more(parser)
    return parser.parse_args()


def load_candidates(path: Path) -> list[dict[str, Any]]:
    """Candidates: name, width, kernel, learning_rate, seed."""
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return found


def limit_threads(threads: int = 1) -> None:
    """Have TensorFlow use so many threads; call it before TensorFlow is imported."""
    os.environ.update(
        OMP_NUM_THREADS=str(threads),
        TF_NUM_INTRAOP_THREADS=str(threads),
        TF_NUM_INTEROP_THREADS="1",
        TF_CPP_MIN_LOG_LEVEL="3",
        CUDA_VISIBLE_DEVICES="-1",
        KERAS_BACKEND="tensorflow",
    )


def load_split(data: Path, split: str) -> tuple[Any, Any]:
    """Images, float32 of shape (n, 28, 28, 1) in [0, 1], and labels, int32 of shape (n,), of `train` or `valid`."""
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(data / f"{split}.parquet", columns=["features", "label"]).combine_chunks()
    images = table.column("features").chunk(0).flatten().to_numpy(zero_copy_only=False)
    labels = table.column("label").to_numpy().astype(np.int32)
    return np.ascontiguousarray(images, dtype=np.float32).reshape(-1, 28, 28, 1), labels


def build(candidate: dict[str, Any], loss: str = "sparse_categorical_crossentropy") -> Any:
    """The compiled network of a candidate; its weights follow from the candidate's seed."""
    from tensorflow import keras

    keras.utils.set_random_seed(candidate["seed"])
    width, kernel = candidate["width"], candidate["kernel"]
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28, 1)),
            keras.layers.Conv2D(width, kernel, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(2 * width, kernel, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(candidate["learning_rate"]), loss, metrics=["accuracy"])
    return model


def save_result(
    out: Path, system: str, accuracies: dict[str, float], *, ready: float | None = None, **more: Any
) -> None:
    """Write what the runner reads.

    Args:
        out: file.
        system: name and version of the system.
        accuracies: validation accuracy after the last epoch, by candidate.
        ready: `time.time()` when every worker could take its first step, where that moment is known.
        more: further figures, plain values.
    """
    result = {"system": system, "start": START, "ready": ready, "end": time.time(), "accuracies": accuracies, **more}
    out.write_text(json.dumps(result, indent=1))
