"""Candidates of several sizes on two tiny shards: so little to train that a hop is most of a unit's time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import ShardSpec

ROWS = 64
"""Rows of a shard, and of a batch: a unit is one step."""

_PIXELS = 784
_CLASSES = 10


@dataclass(frozen=True)
class Size:
    """A candidate by name: the widths of its dense layers, after so many filters in two convolutions if any."""

    name: str
    dense: tuple[int, ...]
    filters: tuple[int, ...] = ()


SIZES = (
    Size("50 k dense", (60,)),
    Size("400 k CNN", (128,), (32, 64)),
    Size("1 M dense", (1000, 210)),
    Size("10 M dense", (4096, 1640)),
)


def use_one_thread() -> None:
    """Have TensorFlow use one thread and keep quiet, unless told otherwise; before it is imported."""
    for name, value in (
        ("OMP_NUM_THREADS", "1"),
        ("TF_NUM_INTRAOP_THREADS", "1"),
        ("TF_NUM_INTEROP_THREADS", "1"),
        ("TF_CPP_MIN_LOG_LEVEL", "3"),
        ("CUDA_VISIBLE_DEVICES", "-1"),
    ):
        os.environ.setdefault(name, value)


def candidate(size: Size) -> CandidateSpec:
    """Describe the candidate; Adam keeps two numbers more for each parameter."""
    import keras

    keras.backend.clear_session()
    layers = keras.layers
    entry = keras.Input((_PIXELS,))
    node: Any = entry
    if size.filters:
        node = layers.Reshape((28, 28, 1))(node)
        for filters in size.filters:
            node = layers.MaxPooling2D()(layers.Conv2D(filters, 3, padding="same", activation="relu")(node))
        node = layers.Dropout(0.2)(layers.Flatten()(layers.BatchNormalization()(node)))
    for units in size.dense:
        node = layers.Dense(units, activation="relu")(node)
    model = keras.Model(entry, layers.Dense(_CLASSES, activation="softmax")(node))
    return CandidateSpec(
        trial=size.name.replace(" ", "-"),
        model=model.to_json(),
        optimizer=keras.optimizers.serialize(keras.optimizers.Adam(1e-3)),
        loss=("categorical_crossentropy",),
        metrics=(("accuracy",),),
        seed=1,
        parameters=model.count_params(),
    )


def two_shards(directory: Path, checkpoint: bool) -> SearchSpec:
    """Write two training shards of random numbers; states go to a store behind the training's back if `checkpoint`."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    (directory / "states").mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    shards = []
    for index in range(2):
        rows = draw.random((ROWS, _PIXELS), dtype=np.float32)
        table = pa.table({"x": pa.array(list(rows)), "y": draw.integers(0, _CLASSES, ROWS)})
        pq.write_table(table, directory / f"{index}.parquet")
        shards.append(ShardSpec("train", index, f"{index}.parquet", ROWS, rows.nbytes))
    return SearchSpec(
        data_url=str(directory),
        state_url=str(directory / "states") if checkpoint else "",
        shards=tuple(shards),
        features=((ColumnSpec("x", (_PIXELS,), "float32", "list"),),),
        labels=(ColumnSpec("y", (), "int64", "scalar"),),
        targets=({"kind": "classes", "classes": list(range(_CLASSES)), "as": "onehot"},),
        seed=0,
        batch_size=ROWS,
        checkpoint=checkpoint,
    )
