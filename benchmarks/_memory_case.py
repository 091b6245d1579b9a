"""One worker's work on W8 in this process: `python -m benchmarks._memory_case SEARCH.json` prints its peak."""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

_WIDTHS = (8, 16)
_KERNELS = (3, 5)
_BATCH = 64
_ROW_GROUPS = 4


def main() -> None:
    os.environ.update(
        TF_CPP_MIN_LOG_LEVEL="3", TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1", OMP_NUM_THREADS="1"
    )
    from cerebro_nas.hopper import Shard
    from cerebro_nas.hopper import Unit
    from cerebro_nas.worker import Engine
    from cerebro_nas.worker import SearchSpec
    from cerebro_nas.worker._memory import keep_freed_memory

    keep_freed_memory()
    search = SearchSpec.from_json(Path(sys.argv[1]).read_text())
    engine = Engine(search, Path(sys.argv[1]).with_suffix(".scratch"))
    states = 0
    for number, (width, kernel) in enumerate(itertools.product(_WIDTHS, _KERNELS)):
        spec = candidate(f"t{number}", width, kernel)
        done = engine.run(Unit(spec.trial, "train", 0, Shard("train", 0), 0), spec, 0, bytes)
        engine.run(Unit(spec.trial, "evaluate", 0, Shard("valid", 0), 0), spec, 1, bytes)
        states = max(states, len(done.state or b""))
    engine.close()
    shard_bytes = sum(shard.nbytes for shard in search.shards)
    print(json.dumps({"peak_bytes": peak_bytes(), "shard_bytes": shard_bytes, "state_bytes": states}))


def peak_bytes() -> int:
    """Largest resident size of this process."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def write_search(folder: Path, data: Path, rows: int, valid_rows: int) -> Path:
    """Write the first rows of W8 as one training and one validation shard, and the file that describes them."""
    import pyarrow.parquet as pq

    from cerebro_nas.worker import ColumnSpec
    from cerebro_nas.worker import SearchSpec
    from cerebro_nas.worker import ShardSpec

    shards = []
    for split, count in (("train", rows), ("valid", valid_rows)):
        table = pq.read_table(data / f"{split}.parquet").slice(0, count)
        pq.write_table(table, folder / f"{split}.parquet", row_group_size=-(-count // _ROW_GROUPS))
        # Decoded: the pixels, and the label as ten numbers.
        shards.append(ShardSpec(split, 0, f"{split}.parquet", count, count * 4 * (784 + 10)))
    search = SearchSpec(
        data_url=str(folder),
        state_url="",
        shards=tuple(shards),
        features=((ColumnSpec("features", (28, 28, 1), "float32", "list"),),),
        labels=(ColumnSpec("label", (), "int32", "scalar"),),
        targets=({"kind": "classes", "classes": list(range(10)), "as": "onehot"},),
        seed=0,
        batch_size=_BATCH,
    )
    path = folder / "search.json"
    path.write_text(search.to_json())
    return path


def candidate(trial: str, width: int, kernel: int) -> Any:
    """One of W8's networks as a worker is told of it."""
    import keras

    from cerebro_nas.worker import CandidateSpec

    keras.backend.clear_session()
    inputs = node = keras.Input((28, 28, 1))
    for filters in (width, 2 * width):
        node = keras.layers.Conv2D(filters, kernel, padding="same", activation="relu")(node)
        node = keras.layers.MaxPooling2D()(node)
    node = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(node))
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(node))
    return CandidateSpec(
        trial=trial,
        model=model.to_json(),
        optimizer=keras.optimizers.serialize(keras.optimizers.Adam(0.001)),
        loss=("categorical_crossentropy",),
        metrics=(("accuracy",),),
        seed=1,
        parameters=model.count_params(),
    )


if __name__ == "__main__":
    main()
