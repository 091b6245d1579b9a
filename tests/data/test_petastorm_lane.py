"""Unmodified Petastorm reads what is prepared here, and what it writes is prepared here. Runs in the petastorm lane."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pytest

from cerebro_nas.data import PreparedData
from cerebro_nas.data import prepare_data
from cerebro_nas.data import read_petastorm_schema
from cerebro_nas.errors import DataError
from cerebro_nas.storage import LocalStore
from cerebro_nas.storage import read_shard

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Petastorm warns of much that is deprecated.
pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("default", "ignore:unclosed <socket:ResourceWarning")]

petastorm = pytest.importorskip("petastorm")

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3)).astype(np.uint8)
VECTORS = np.random.default_rng(1).normal(size=(60, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    rows = [(IMAGES[i].ravel().tolist(), VECTORS[i].tolist(), i, f"d{i % 3}", i / 3) for i in range(60)]
    df = spark.createDataFrame(rows, "image array<int>, vector array<float>, row int, text string, y double")
    images = prepare_data(
        df,
        store=LocalStore(tmp_path_factory.mktemp("store")),
        name="images",
        feature_columns=["image"],
        label_columns=["row", "vector", "text", "y"],
        num_shards=2,
        input_shape=(4, 4, 3),
    )
    assert images.features[0].encoding == "npy"
    return images


def test_make_reader(prepared: PreparedData) -> None:
    seen = []
    for split in ("train", "valid"):
        with petastorm.make_reader(f"file://{prepared.url}/{split}", reader_pool_type="dummy", num_epochs=1) as reader:
            for row in reader:
                assert row.image.dtype == np.uint8
                assert np.array_equal(row.image, IMAGES[row.row])
                assert row.vector.dtype == np.float32
                assert np.array_equal(row.vector, VECTORS[row.row])
                assert (row.text, row.y) == (f"d{row.row % 3}", row.row / 3)
                seen.append(int(row.row))
    assert sorted(seen) == list(range(60))


def test_make_batch_reader(prepared: PreparedData) -> None:
    seen = []
    for split in ("train", "valid"):
        url = f"file://{prepared.url}/{split}"
        with petastorm.make_batch_reader(url, reader_pool_type="dummy", num_epochs=1) as reader:
            for batch in reader:
                assert np.array_equal(batch.vector, VECTORS[batch.row])
                assert batch.text.tolist() == [f"d{row % 3}" for row in batch.row]
                seen.extend(batch.row.tolist())
    assert sorted(seen) == list(range(60))


def _write(spark: SparkSession, url: str, fields: list[Any], row: Callable[[int], dict[str, Any]]) -> None:
    from petastorm.etl.dataset_metadata import materialize_dataset
    from petastorm.unischema import Unischema
    from petastorm.unischema import dict_to_spark_row

    schema = Unischema("theirs", fields)
    with materialize_dataset(spark, url, schema, 1):
        rows = [dict_to_spark_row(schema, row(i)) for i in range(60)]
        spark.createDataFrame(rows, schema.as_spark_schema()).coalesce(2).write.mode("overwrite").parquet(url)


def test_data_set_of_petastorm_is_input(spark: SparkSession, tmp_path: Path) -> None:
    from petastorm.codecs import CompressedNdarrayCodec
    from petastorm.codecs import NdarrayCodec
    from petastorm.codecs import ScalarCodec
    from petastorm.unischema import UnischemaField
    from pyspark.sql.types import IntegerType

    fields = [
        UnischemaField("row", np.int32, (), ScalarCodec(IntegerType()), False),
        UnischemaField("image", np.uint8, (4, 4, 3), NdarrayCodec(), False),
        UnischemaField("vector", np.float32, (None,), CompressedNdarrayCodec(), False),
    ]
    url = f"file://{tmp_path}/theirs"
    _write(spark, url, fields, lambda i: {"row": i, "image": IMAGES[i], "vector": VECTORS[i]})
    found = [(f.name, f.dtype, f.shape, f.codec) for f in read_petastorm_schema(url)]
    assert found == [
        ("row", "int32", (), "ScalarCodec"),
        ("image", "uint8", (4, 4, 3), "NdarrayCodec"),
        ("vector", "float32", (None,), "CompressedNdarrayCodec"),
    ]
    ours = prepare_data(
        spark.read.parquet(url),
        store=LocalStore(tmp_path / "ours"),
        name="ours",
        feature_columns=["image", "vector"],
        label_columns=["row"],
        num_shards=2,
    )
    assert [(c.shape, c.dtype) for c in ours.features] == [((4, 4, 3), "uint8"), ((5,), "float32")]
    rows = 0
    for shard in ours.shards:
        part = read_shard(ours.url, shard, (*ours.features, *ours.labels))
        assert np.array_equal(part["image"], IMAGES[part["row"]])
        assert np.array_equal(part["vector"], VECTORS[part["row"]])
        rows += shard.rows
    assert rows == 60


def test_schema_that_runs_code_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    canary = tmp_path / "canary"
    stream = f"cos\nsystem\n(S'touch {canary}'\ntR.".encode()
    schema = pa.schema([("x", pa.int64())], metadata={"dataset-toolkit.unischema.v1": stream})
    pq.write_metadata(schema, tmp_path / "_common_metadata")
    with pytest.raises(DataError, match="without running code"):
        read_petastorm_schema(str(tmp_path))
    assert not canary.exists()
