"""DataFrames become shards: through a real Spark, on real and on bad data."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from cerebro_nas.data import PreparedData
from cerebro_nas.data import check_fingerprint
from cerebro_nas.data import load_prepared
from cerebro_nas.data import prepare_data
from cerebro_nas.errors import DataError
from cerebro_nas.storage import LocalStore
from cerebro_nas.storage import read_shard

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.spark,
    # Spark's own Python code and Arrow's bridge to pandas warn of what they will change.
    pytest.mark.filterwarnings("default", "ignore:unclosed <socket:ResourceWarning"),
]

Prepare = Callable[..., PreparedData]


@pytest.fixture(scope="module")
def digits(spark: SparkSession) -> DataFrame:
    """Scikit-learn's digits as Spark ML vectors, sparse as the libsvm reader gives them, with labels of four kinds."""
    from pyspark.ml.linalg import Vectors

    images, labels = load_digits(return_X_y=True)
    eye = np.eye(10)
    rows = [
        (
            number,
            Vectors.sparse(64, np.flatnonzero(image).tolist(), image[image > 0].tolist()),
            int(label),
            float(label),
            f"d{label}",
            Vectors.dense(eye[label].tolist()),
            number % 7 == 0,
        )
        for number, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    names = ["row", "features", "label", "double", "text", "onehot", "held_out"]
    return spark.createDataFrame(rows, names).repartition(3).cache()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    # Hadoop takes some of these characters for patterns.
    return LocalStore(tmp_path / "a store [x] {1,2} ü%20")


@pytest.fixture
def prepare(store: LocalStore) -> Prepare:
    def run(df: DataFrame, **changed: Any) -> PreparedData:
        arguments: dict[str, Any] = {"feature_columns": ["features"], "label_columns": ["label"], "num_shards": 2}
        return prepare_data(df, store=store, name="data", **{**arguments, **changed})

    return run


def _read(prepared: PreparedData, split: str) -> dict[str, NDArray[Any]]:
    columns = (*prepared.features, *prepared.labels)
    parts = [read_shard(prepared.url, shard, columns) for shard in prepared.shards if shard.split == split]
    return {column.name: np.concatenate([part[column.name] for part in parts]) for column in columns}


def _all(prepared: PreparedData) -> dict[str, NDArray[Any]]:
    train, valid = _read(prepared, "train"), _read(prepared, "valid")
    return {name: np.concatenate([train[name], valid[name]]) for name in train}


def test_digits_keep_every_row_and_value(digits: DataFrame, prepare: Prepare, store: LocalStore) -> None:
    prepared = prepare(digits, label_columns=["label", "row"], input_shape=(8, 8, 1), num_shards=4)
    images, labels = load_digits(return_X_y=True)
    found = _all(prepared)
    order = np.argsort(found["row"])
    assert np.array_equal(found["row"][order], np.arange(1797))
    assert np.array_equal(found["features"][order], images.reshape(-1, 8, 8, 1))
    assert np.array_equal(found["label"][order], labels)
    features = prepared.features[0]
    assert (features.shape, features.dtype, features.encoding) == ((8, 8, 1), "uint8", "npy")
    rows = [shard.rows for shard in prepared.shards if shard.split == "train"]
    assert len(rows) == 4
    assert max(rows) - min(rows) <= 1
    assert prepared.valid_rows == round(1797 * 0.2)
    assert load_prepared(store, "data") == prepared
    assert os.listdir(Path(store.data_url("data")).parent) == ["data"]


@pytest.mark.case(30)
def test_statistics_are_of_all_rows(digits: DataFrame, prepare: Prepare) -> None:
    prepared = prepare(digits, label_columns=["label", "text", "onehot", "double"])
    images, labels = load_digits(return_X_y=True)
    statistics = prepared.statistics
    assert statistics["features"].rows == 1797
    assert (statistics["features"].minimum, statistics["features"].maximum) == (0, 16)
    assert np.allclose(statistics["features"].mean, images.mean(axis=0), atol=1e-12)
    assert np.allclose(statistics["features"].variance, images.var(axis=0), atol=1e-10)
    counts = tuple(np.bincount(labels).tolist())
    assert statistics["label"].classes == tuple(range(10))
    assert statistics["double"].classes == tuple(range(10))
    assert statistics["onehot"].classes == tuple(range(10))
    assert statistics["text"].classes == tuple(f"d{i}" for i in range(10))
    assert {statistics[name].class_counts for name in ("label", "double", "text", "onehot")} == {counts}
    kinds = [(column.name, column.shape, column.dtype, column.encoding) for column in prepared.labels]
    assert kinds == [
        ("label", (), "int64", "scalar"),
        ("text", (), "str", "scalar"),
        ("onehot", (10,), "uint8", "list"),
        ("double", (), "int64", "scalar"),
    ]


def test_last_axis_statistics_of_shaped_input(digits: DataFrame, prepare: Prepare) -> None:
    prepared = prepare(digits, input_shape=(8, 8, 1))
    images, _ = load_digits(return_X_y=True)
    assert np.allclose(prepared.statistics["features"].mean, [images.mean()])
    assert np.allclose(prepared.statistics["features"].variance, [images.var()])


def test_boolean_column_marks_the_validation_rows(digits: DataFrame, prepare: Prepare) -> None:
    prepared = prepare(digits, label_columns=["label", "row"], validation="held_out", num_shards=3)
    assert set(_read(prepared, "valid")["row"].tolist()) == set(range(0, 1797, 7))
    assert len(_read(prepared, "train")["row"]) == 1797 - 257
    rows = [shard.rows for shard in prepared.shards if shard.split == "train"]
    assert max(rows) - min(rows) <= 1


def test_same_seed_gives_the_same_shards_and_another_seed_others(digits: DataFrame, prepare: Prepare) -> None:
    first = prepare(digits, seed=3)
    assert prepare(digits, seed=3).fingerprint == first.fingerprint
    assert prepare(digits, seed=4).fingerprint != first.fingerprint


def test_rows_are_shuffled(digits: DataFrame, prepare: Prepare) -> None:
    found = _read(prepare(digits, label_columns=["row"], num_shards=1), "train")["row"]
    assert abs(np.corrcoef(found, np.arange(len(found)))[0, 1]) < 0.15


def test_spark_and_arrow_read_the_same(digits: DataFrame, prepare: Prepare, store: LocalStore) -> None:
    prepared = prepare(digits, label_columns=["text"])
    shards = [shard for shard in prepared.shards if shard.split == "train"]
    arrow = pq.read_table([Path(prepared.url, shard.path) for shard in shards], partitioning=None)
    paths = [store.spark_url(f"{prepared.url}/{shard.path}") for shard in shards]
    rows = digits.sparkSession.read.parquet(*paths).collect()
    by_spark = sorted((row["text"], *row["features"]) for row in rows)
    assert by_spark == sorted((row["text"], *row["features"]) for row in arrow.to_pylist())
    assert pq.ParquetFile(Path(prepared.url, shards[0].path)).num_row_groups > 1


def test_scalar_columns_make_a_table(spark: SparkSession, prepare: Prepare) -> None:
    rows = [(i, i / 8, bool(i % 2), 1e9 + i, float(i) / 3) for i in range(50)]
    df = spark.createDataFrame(rows, ["a b", "c.d", "flag", "large", "y"])
    prepared = prepare(df, feature_columns=["a b", "c.d", "flag", "large"], label_columns=["y"])
    assert [column.shape for column in prepared.features] == [()] * 4
    assert [column.dtype for column in prepared.features] == ["uint8", "float32", "uint8", "float32"]
    assert prepared.labels[0].dtype == "float64"
    assert prepared.statistics["y"].classes == ()
    found = _all(prepared)
    order = np.argsort(found["a b"])
    assert np.array_equal(found["c.d"][order], np.arange(50) / 8)
    assert np.array_equal(found["y"][order], np.arange(50) / 3)


def test_arrays_keep_their_integers(spark: SparkSession, prepare: Prepare) -> None:
    df = spark.createDataFrame([([i, 70_000], i % 2) for i in range(20)], ["features", "label"])
    prepared = prepare(df)
    assert prepared.features[0].dtype == "int64"
    assert sorted(_all(prepared)["features"].tolist()) == [[i, 70_000] for i in range(20)]


def test_tensors_of_petastorm_are_decoded(spark: SparkSession, prepare: Prepare) -> None:
    images = np.random.default_rng(0).normal(size=(30, 4, 3)).astype(np.float32)

    def packed(number: int) -> bytearray:
        sink = io.BytesIO()
        if number % 2:
            np.save(sink, images[number])
        else:
            np.savez_compressed(sink, arr=images[number])
        return bytearray(sink.getvalue())

    df = spark.createDataFrame([(packed(i), i) for i in range(30)], ["features", "label"])
    prepared = prepare(df)
    assert (prepared.features[0].shape, prepared.features[0].dtype) == ((4, 3), "float32")
    found = _all(prepared)
    assert np.array_equal(found["features"][np.argsort(found["label"])], images)


@pytest.mark.case(29)
def test_every_fault_of_the_rows_is_named_at_once(spark: SparkSession, prepare: Prepare, store: LocalStore) -> None:
    from pyspark.ml.linalg import Vectors
    from pyspark.ml.linalg import VectorUDT
    from pyspark.sql import types as T

    schema = T.StructType(
        [
            T.StructField("features", VectorUDT()),
            T.StructField("more", T.ArrayType(T.DoubleType())),
            T.StructField("label", T.LongType()),
        ]
    )
    good = [(Vectors.dense([1.0, 2.0]), [1.0], 1)] * 20
    bad: list[Any] = [
        (None, [1.0], 1),
        (Vectors.dense([1.0, float("nan")]), [1.0], 1),
        (Vectors.sparse(3, [0], [1.0]), [1.0], 1),
        (Vectors.dense([1e300, 0.0]), [1.0], 1),
        (Vectors.dense([1.0, 2.0]), [None], 1),
        (Vectors.dense([1.0, 2.0]), [], 1),
        (Vectors.dense([1.0, 2.0]), [float("inf")], None),
    ]
    df = spark.createDataFrame(good + bad, schema).coalesce(1)
    with pytest.raises(DataError) as caught:
        prepare(df, feature_columns=["features", "more"])
    text = str(caught.value)
    for part in (
        "'features': null in 1 of 27 rows, for example rows [20]",
        "'features': NaN or infinite in 2 of 27 rows, for example rows [21, 23]",
        "'features': size is not 2 in 1 of 27 rows, for example rows [22]",
        "'more': null in 1 of 27 rows, for example rows [24]",
        "'more': no numbers in 1 of 27 rows, for example rows [25]",
        "'more': NaN or infinite in 1 of 27 rows, for example rows [26]",
        "'label': null in 1 of 27 rows, for example rows [26]",
    ):
        assert part in text
    assert not store.exists(store.data_url("data"))
    assert not any(Path(store.data_url("data")).parent.glob("*"))


@pytest.mark.case(29)
def test_rows_of_differing_size_across_partitions(spark: SparkSession, prepare: Prepare) -> None:
    rows = [([1.0] * (2 + number // 50), number) for number in range(100)]
    df = spark.createDataFrame(spark.sparkContext.parallelize(rows, 2), ["features", "label"])
    with pytest.raises(DataError, match=r"column 'features': rows of differing size, \[2, 3\], in 50 and 50 rows"):
        prepare(df)


@pytest.mark.case(29)
def test_empty_vectors_are_refused(spark: SparkSession, prepare: Prepare) -> None:
    df = spark.createDataFrame([([], 1)] * 5, "features array<double>, label int")
    with pytest.raises(DataError, match="'features'"):
        prepare(df)


@pytest.mark.case(29)
def test_input_shape_must_fit(digits: DataFrame, prepare: Prepare) -> None:
    with pytest.raises(DataError, match=r"input_shape=\(28, 28, 1\)"):
        prepare(digits, input_shape=(28, 28, 1))


@pytest.mark.case(28)
@pytest.mark.parametrize(("rows", "message"), [(0, "0 rows"), (1, "0 training and 1 validation"), (2, "1 training")])
def test_too_few_rows(digits: DataFrame, prepare: Prepare, rows: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare(digits.limit(rows))


@pytest.mark.case(28)
@pytest.mark.parametrize(("mark", "received"), [(True, "0 training and 1797"), (False, "1797 training and 0")])
def test_a_column_that_marks_all_rows_or_none(digits: DataFrame, prepare: Prepare, mark: bool, received: str) -> None:
    from pyspark.sql import functions as F

    told = f"Received: {received} validation rows. Mark other rows in the column that `validation` names"
    with pytest.raises(DataError, match=told):
        prepare(digits.withColumn("held_out", F.lit(mark)), validation="held_out")


@pytest.mark.case(28)
def test_empty_and_skewed_partitions(digits: DataFrame, prepare: Prepare) -> None:
    from pyspark.sql import functions as F

    skewed = digits.repartition(5, F.when(F.col("row") < 1700, 0).otherwise(1))
    prepared = prepare(skewed, label_columns=["row"], num_shards=3)
    assert sorted(_all(prepared)["row"].tolist()) == list(range(1797))
    assert {shard.rows for shard in prepared.shards if shard.split == "train"} <= {479, 480}


@pytest.mark.case(28)
def test_nearly_all_rows_in_one_partition(digits: DataFrame, prepare: Prepare) -> None:
    from pyspark.sql import functions as F

    skewed = digits.repartition(4, F.when(F.col("row") < 1780, 0).otherwise(F.col("row")))
    prepared = prepare(skewed, num_shards=4)
    train = [shard for shard in prepared.shards if shard.split == "train"]
    assert sum(shard.rows for shard in prepared.shards) == 1797
    assert max(shard.rows for shard in train) - min(shard.rows for shard in train) <= 1
    for shard in prepared.shards:
        file = pq.ParquetFile(Path(prepared.url, shard.path))
        assert file.num_row_groups >= 1
        # What weighs a unit is what is there.
        assert file.metadata.num_rows == shard.rows


@pytest.mark.case(28)
def test_a_row_for_each_worker_is_enough(spark: SparkSession, prepare: Prepare) -> None:
    df = spark.createDataFrame([([float(n)], n % 2) for n in range(4)], ["features", "label"]).repartition(7)
    prepared = prepare(df, num_shards=3)
    assert [(shard.split, shard.rows) for shard in prepared.shards] == [*[("train", 1)] * 3, ("valid", 1)]


@pytest.mark.case(28)
def test_parquet_files_without_rows(spark: SparkSession, prepare: Prepare, tmp_path: Path) -> None:
    df = spark.createDataFrame([([float(n)], n % 2) for n in range(9)], "features array<double>, label int")
    df.limit(0).write.parquet(str(tmp_path / "in"))
    df.repartition(2).write.mode("append").parquet(str(tmp_path / "in"))
    prepared = prepare(spark.read.parquet(str(tmp_path / "in")))
    assert prepared.train_rows + prepared.valid_rows == 9


@pytest.mark.case(30)
@pytest.mark.parametrize("kind", ["int", "string", "onehot"])
def test_classes_are_those_of_all_rows_however_they_are_sorted(
    spark: SparkSession, prepare: Prepare, kind: str
) -> None:
    labels: dict[str, Callable[[int], Any]] = {
        "int": lambda n: n,
        "string": lambda n: f"c{n}",
        "onehot": lambda n: np.eye(4)[n].tolist(),
    }
    # The fourth class is in the last three of 60 rows.
    rows = [
        ([float(row)], labels[kind](0 if row < 30 else 1 if row < 45 else 2 if row < 57 else 3)) for row in range(60)
    ]
    types = {"int": "int", "string": "string", "onehot": "array<double>"}
    df = spark.createDataFrame(rows, f"features array<double>, label {types[kind]}").coalesce(1)
    statistics = prepare(df, seed=1).statistics["label"]
    assert len(statistics.classes) == 4
    assert statistics.class_counts == (30, 15, 12, 3)


@pytest.mark.case(30)
@pytest.mark.parametrize("by_spark", [False, True])
def test_a_class_of_validation_rows_only_is_named(
    spark: SparkSession,
    prepare: Prepare,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    by_spark: bool,
) -> None:
    if by_spark:
        monkeypatch.setattr("cerebro_nas.data._deal_locally.LARGEST_BYTES", 0)
    rows = [([float(n)], "rare" if n in (3, 4) else "abc"[n % 3], n in (3, 4, 5, 6)) for n in range(40)]
    df = spark.createDataFrame(rows, "features array<double>, label string, held_out boolean")
    with caplog.at_level("WARNING", "cerebro_nas"):
        prepare(df, validation="held_out")
    (record,) = [record for record in caplog.records if record.name.startswith("cerebro_nas.data")]
    assert "Label column 'label': 'rare' (2 rows) occurs in validation rows only" in record.message


def test_a_failure_leaves_the_old_data_set(digits: DataFrame, prepare: Prepare, store: LocalStore) -> None:
    first = prepare(digits)
    with pytest.raises(DataError):
        prepare(digits, input_shape=(3, 3))
    assert load_prepared(store, "data") == first
    _all(first)


def test_a_data_set_can_be_prepared_from_itself(digits: DataFrame, prepare: Prepare, store: LocalStore) -> None:
    first = prepare(digits, label_columns=["label", "row"])
    again = digits.sparkSession.read.parquet(store.spark_url(f"{first.url}/train"))
    second = prepare(again, label_columns=["label", "row"])
    assert second.train_rows + second.valid_rows == first.train_rows


@pytest.mark.case(26)
def test_foreign_directory_is_refused_and_kept_before_any_job(
    digits: DataFrame, prepare: Prepare, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("Spark was asked")

    monkeypatch.setattr("cerebro_nas.data._spark_rows.SparkRows.stage", refuse)
    mine = Path(store.data_url("data"), "mine.txt")
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(OSError, match="cerebro_nas"):
        prepare(digits)
    assert mine.read_text() == "mine"
    assert os.listdir(mine.parent) == ["mine.txt"]


def test_prepared_data_of_something_else_is_refused(digits: DataFrame, prepare: Prepare) -> None:
    prepared = prepare(digits, input_shape=(8, 8, 1))
    wanted: dict[str, Any] = {"feature_columns": ["features"], "label_columns": ["label"]}
    check_fingerprint(prepared, digits, **wanted, input_shape=(8, 8, 1))
    check_fingerprint(prepared, None, **wanted)
    with pytest.raises(DataError, match="input_shape"):
        check_fingerprint(prepared, digits, **wanted, input_shape=(64,))
    with pytest.raises(DataError, match="label_columns"):
        check_fingerprint(prepared, None, feature_columns=["features"], label_columns=["text"])
    with pytest.raises(DataError, match="schema"):
        check_fingerprint(prepared, digits.withColumn("label", digits["text"]), **wanted)


_ONE_SLOT = """
import sys
from cerebro_nas.backend.spark._session import local_spark_session
from cerebro_nas.data import _deal_locally
from cerebro_nas.data import prepare_data
from cerebro_nas.storage import LocalStore

_deal_locally.LARGEST_BYTES = 0
spark = local_spark_session(1, memory="512m")
df = spark.createDataFrame([([float(i), 0.5], i % 2) for i in range(40)], ["features", "label"]).repartition(4)
prepared = prepare_data(
    df, store=LocalStore(sys.argv[1]), name="x", feature_columns=["features"], label_columns=["label"], num_shards=3
)
print(prepared.train_rows, prepared.valid_rows)
spark.stop()
"""


@pytest.mark.slow
def test_one_slot_is_enough(tmp_path: Path) -> None:
    # In a process of its own: only one Spark can run in one. Both of Spark's jobs are run.
    ran = subprocess.run([sys.executable, "-c", _ONE_SLOT, tmp_path], capture_output=True, text=True, timeout=110)
    assert ran.stdout.split() == ["32", "8"], ran.stderr
