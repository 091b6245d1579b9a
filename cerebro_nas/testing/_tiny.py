"""The smallest search that trains something: three Parquet files and a model of one hidden layer."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import ShardSpec

if TYPE_CHECKING:
    from pathlib import Path

_ROWS = 64
_WIDTH = 8
_CLASSES = 3


def tiny_search(tmp_path: Path) -> tuple[SearchSpec, CandidateSpec]:
    """Write two training shards and one validation shard of 64 rows below `tmp_path`, and describe a candidate.

    A row is a feature vector of 8 numbers and a class of 3 that depends on it.
    """
    data = tmp_path / "data"
    data.mkdir(parents=True, exist_ok=True)
    (tmp_path / "states").mkdir(exist_ok=True)
    shards = tuple(_write(tmp_path, split, index) for split, index in (("train", 0), ("train", 1), ("valid", 0)))
    search = SearchSpec(
        data_url=str(data),
        state_url=str(tmp_path / "states"),
        shards=shards,
        features=((ColumnSpec("features", (_WIDTH,), "float32", "list"),),),
        labels=(ColumnSpec("label", (), "int64", "scalar"),),
        targets=({"kind": "classes", "classes": list(range(_CLASSES)), "as": "onehot"},),
        seed=0,
        batch_size=16,
    )
    return search, _candidate()


def _write(tmp_path: Path, split: str, index: int) -> ShardSpec:
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = random.Random(f"{split}-{index}")
    rows = [[draw.gauss(0, 1) for _ in range(_WIDTH)] for _ in range(_ROWS)]
    labels = [max(range(_CLASSES), key=row.__getitem__) for row in rows]
    table = pa.table({"features": pa.array(rows, pa.list_(pa.float32())), "label": pa.array(labels, pa.int64())})
    name = f"{split}-{index}.parquet"
    pq.write_table(table, tmp_path / "data" / name)
    return ShardSpec(split, index, name, _ROWS, _ROWS * (_WIDTH * 4 + 8))


def _candidate() -> CandidateSpec:
    import keras

    # Keras numbers layers through a session; equal architectures must have equal text.
    keras.backend.clear_session()
    inputs = keras.Input((_WIDTH,))
    hidden = keras.layers.Dense(16, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(_CLASSES, activation="softmax")(hidden))
    return CandidateSpec(
        trial="tiny",
        model=model.to_json(),
        optimizer=keras.optimizers.serialize(keras.optimizers.Adam(0.01)),
        loss=("categorical_crossentropy",),
        metrics=(("accuracy",),),
        seed=1,
        parameters=model.count_params(),
    )
