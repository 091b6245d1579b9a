"""Two data sets on disk as Parquet, and a network for each: images of Fashion-MNIST, and a table of numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import _w8_data
from cerebro_nas.data import PreparedData
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import SearchSpec

BATCH = 64
_COLUMNS = 39


@dataclass(frozen=True)
class Source:
    """A data set: its file, how `prepare_data` is to read it, and the body of a network that learns it."""

    name: str
    file: Path
    features: tuple[str, ...]
    input_shape: tuple[int, ...] | None
    classes: int
    body: Callable[[Any], Any]

    def search(self, prepared: PreparedData) -> SearchSpec:
        """What a worker is told of the prepared data."""
        return SearchSpec(
            data_url=prepared.url,
            state_url="",
            shards=prepared.shards,
            features=(prepared.features,),
            labels=prepared.labels,
            targets=({"kind": "classes", "classes": list(range(self.classes)), "as": "onehot"},),
            seed=0,
            batch_size=BATCH,
            checkpoint=False,
        )

    def candidate(self, trial: str = "a") -> CandidateSpec:
        """Describe the network."""
        import keras

        keras.backend.clear_session()
        entry = keras.Input(self.input_shape or (len(self.features),))
        node = self.body(entry)
        model = keras.Model(entry, keras.layers.Dense(self.classes, activation="softmax")(node))
        return CandidateSpec(
            trial=trial,
            model=model.to_json(),
            optimizer=keras.optimizers.serialize(keras.optimizers.Adam(1e-3)),
            loss=("categorical_crossentropy",),
            metrics=(("accuracy",),),
            parameters=model.count_params(),
        )


def images(folder: Path, files: Path, rows: int) -> Source:
    """The training rows of W8, whose smallest network is the one that waits most for its data."""
    data = _w8_data.write_data(folder / "w8", files, rows, max(1, rows // 6))
    return Source("W8 images", data / "train.parquet", ("features",), (28, 28, 1), 10, _small_cnn)


def table(folder: Path, rows: int) -> Source:
    """Rows of 39 doubles, as tables of click logs have them."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = np.random.default_rng(0)
    names = tuple(f"c{number}" for number in range(_COLUMNS))
    columns = {name: draw.normal(size=rows) for name in names}
    file = folder / "table.parquet"
    pq.write_table(pa.table({**columns, "label": draw.integers(0, 2, rows)}), file, row_group_size=max(1, rows // 4))
    return Source(f"table of {rows:,} x {_COLUMNS}", file, names, None, 2, _small_mlp)


def _small_cnn(node: Any) -> Any:
    from keras import layers

    for filters in (8, 16):
        node = layers.MaxPooling2D()(layers.Conv2D(filters, 3, padding="same", activation="relu")(node))
    return layers.Dense(64, activation="relu")(layers.Flatten()(node))


def _small_mlp(node: Any) -> Any:
    from keras import layers

    for units in (200, 200):
        node = layers.Dense(units, activation="relu")(node)
    return node
