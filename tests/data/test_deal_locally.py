"""Small data is dealt without Spark, and its shards are the ones that Spark would have written."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebro_nas.data import PreparedData
from cerebro_nas.data import _deal
from cerebro_nas.data import _deal_locally
from cerebro_nas.data import prepare_data
from cerebro_nas.data._deal import Deal
from cerebro_nas.data._deal import make_deal
from cerebro_nas.data._stage import StagedPart
from cerebro_nas.storage import LocalStore

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

# Spark's own Python code and Arrow's bridge to pandas warn of what they will change.
_spark = pytest.mark.filterwarnings("default", "ignore:unclosed <socket:ResourceWarning")

_SEEDS = (0, 7, -1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**40 + 3, 2**63 - 1, -(2**63))


def _table(part: Any, valid: Any, idx: Any) -> pa.Table:
    arrays = [np.asarray(part, np.int32), np.asarray(valid, bool), np.asarray(idx, np.int64)]
    return pa.table([pa.array(array) for array in arrays], names=["__part", "__valid", "__idx"])


@pytest.mark.spark
@_spark
def test_keys_are_sparks(spark: SparkSession) -> None:
    from pyspark.sql import functions as F

    draw = random.Random(0)
    rows = [(draw.randrange(-(2**31), 2**31), draw.random() < 0.5, draw.randrange(-(2**63), 2**63)) for _ in range(200)]
    rows += [(0, False, 0), (2**31 - 1, True, 2**63 - 1), (-1, True, -1)]
    keys = [
        F.xxhash64(F.lit(seed), F.col("part"), F.col("valid"), F.col("idx")).alias(f"k{number}")
        for number, seed in enumerate(_SEEDS)
    ]
    df = spark.createDataFrame(rows, "part int, valid boolean, idx bigint").coalesce(1)
    found = np.array([tuple(row) for row in df.select(*keys).collect()])
    part, valid, idx = zip(*rows, strict=True)
    for number, seed in enumerate(_SEEDS):
        assert np.array_equal(_deal_locally.keys(_table(part, valid, idx), seed), found[:, number]), seed


@given(st.integers(4, 500), st.floats(0.001, 0.5), st.integers(1, 4), st.sampled_from([1, 1 << 40]), st.data())
def test_drawn_rows_go_where_the_rule_says(
    rows: int, fraction: float, shards: int, row_bytes: int, data: st.DataObject
) -> None:
    deal = make_deal(rows, 0, fraction=fraction, num_shards=shards, row_bytes=row_bytes)
    cuts = sorted(data.draw(st.lists(st.integers(0, rows), max_size=3)))
    sizes = np.diff([0, *cuts, rows]).tolist()
    parts = [StagedPart(number, "", size, size, 0, {}) for number, size in enumerate(sizes)]
    part = np.repeat(np.arange(len(sizes)), sizes)
    idx = np.concatenate([np.arange(size) for size in sizes])
    found = _deal_locally.shards(_table(part, np.zeros(rows), idx), parts, deal)
    places = [deal.place(number) for number in range(rows)]
    assert found.tolist() == [index + (deal.train_shards if split == "valid" else 0) for split, index in places]


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    """700 rows in the partitions 0, 2 and 4 of six; the first row of a partition is marked, and every fifth."""
    draw = np.random.default_rng(5)
    values = [
        (
            draw.normal(size=12).astype(np.float32).tolist(),
            [number, 70_000],
            number / 4,
            number,
            f"é{number % 3}",
            number % 5 == 0,
        )
        for number in range(700)
    ]
    names = "image array<float>, pair array<int>, one double, row int, text string, marked boolean"
    parallel = spark.sparkContext.parallelize(range(6), 6).flatMap(
        lambda part: values[:300] if part == 0 else values[300:310] if part == 2 else values[310:] if part == 4 else []
    )
    return spark.createDataFrame(parallel, names).cache()


@pytest.mark.spark
@_spark
@pytest.mark.parametrize(
    "changed",
    [
        {"validation": 0.2, "feature_columns": ["image"], "input_shape": (2, 3, 2)},
        {"validation": 0.3, "seed": 2**33, "num_shards": 1},
        {"validation": "marked", "num_shards": 4},
    ],
    ids=["drawn", "drawn with a large seed", "marked"],
)
@pytest.mark.parametrize("valid_shards", [1, 3])
def test_both_ways_write_the_same_files(
    rows: DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], valid_shards: int
) -> None:
    arguments: dict[str, Any] = {
        "feature_columns": ["image", "pair", "one"],
        "label_columns": ["text", "row"],
        "num_shards": 3,
        "name": "data",
        **changed,
    }
    if valid_shards > 1:
        monkeypatch.setattr(_deal, "SMALL_VALIDATION_BYTES", 0)
    here = prepare_data(rows, store=LocalStore(tmp_path / "here [x] a=b"), **arguments)
    monkeypatch.setattr(_deal_locally, "LARGEST_BYTES", 0)
    monkeypatch.setattr(_deal_locally, "dealt", _never)
    by_spark = prepare_data(rows, store=LocalStore(tmp_path / "spark"), **arguments)
    assert here.train_rows + here.valid_rows == 700
    assert here.shards == by_spark.shards
    assert here.fingerprint == by_spark.fingerprint
    assert _files(here) == _files(by_spark)


def _never(*arguments: object) -> None:
    raise AssertionError(f"not to be called: {arguments}")


def _files(prepared: PreparedData) -> dict[str, bytes]:
    paths = [path for path in Path(prepared.url).rglob("*") if path.is_file() and path.name != "statistics.json"]
    return {str(path.relative_to(prepared.url)): path.read_bytes() for path in paths}


@pytest.mark.spark
@_spark
def test_small_data_needs_no_second_job(rows: DataFrame, tmp_path: Path) -> None:
    spark = rows.sparkSession
    rows.count()
    group = "one job"
    spark.sparkContext.setJobGroup(group, "")
    try:
        prepare_data(
            rows,
            store=LocalStore(tmp_path),
            name="data",
            feature_columns=["image"],
            label_columns=["row"],
            num_shards=2,
        )
        jobs = spark.sparkContext.statusTracker().getJobIdsForGroup(group)
    finally:
        spark.sparkContext.setLocalProperty("spark.jobGroup.id", "")
    assert len(jobs) == 1


@pytest.mark.parametrize(
    ("count", "seed", "small"),
    [
        (_deal_locally.LARGEST_BYTES // 1000, 0, True),
        (_deal_locally.LARGEST_BYTES // 1000 + 1, 0, False),
        (10, 2**63 - 1, True),
        # Spark takes it for a decimal, and hashes it as one.
        (10, 2**63, False),
    ],
)
def test_large_data_is_left_to_spark(count: int, seed: int, small: bool) -> None:
    deal = Deal(math.ceil(count / 2), count // 2, 2, 1, drawn=True)
    assert _deal_locally.is_small(deal, 1000, seed) is small
