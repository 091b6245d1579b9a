from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import ShardSpec
from cerebro_nas.worker._shard_cache import ShardCache


@pytest.mark.parametrize("rows", [1, 2048, 5000])
def test_scalar_columns_of_any_type_become_one_input(tmp_path: Path, rows: int) -> None:
    draw = np.random.default_rng(0)
    columns = {
        "a": draw.integers(0, 255, rows).astype("uint8"),
        "b": draw.normal(size=rows).astype("float32"),
        "c": draw.integers(-9, 9, rows),
    }
    pq.write_table(pa.table({**columns, "y": columns["b"]}), tmp_path / "train-0.parquet", row_group_size=700)
    search = SearchSpec(
        data_url=str(tmp_path),
        state_url="",
        shards=(ShardSpec("train", 0, "train-0.parquet", rows, 1),),
        features=(tuple(ColumnSpec(name, (), str(array.dtype), "scalar") for name, array in columns.items()),),
        labels=(ColumnSpec("y", (), "float32", "scalar"),),
        targets=({"kind": "values"},),
        seed=0,
        batch_size=16,
    )
    tensors = ShardCache(search, tmp_path, budget=0).load("train", 0)
    (found,) = tensors.inputs
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.stack([array.astype("float32") for array in columns.values()], axis=-1))
    assert tensors.targets[0].shape == (rows, 1)


def test_rows_of_one_number_say_which_of_two_classes_they_are() -> None:
    from cerebro_nas.worker._shard_cache import _positions

    assert _positions(np.array([[0], [1], [1]], np.uint8), {"classes": []}).tolist() == [0, 1, 1]
    assert _positions(np.array([[0, 1], [1, 0]], np.uint8), {"classes": []}).tolist() == [1, 0]
