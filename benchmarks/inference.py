"""Prediction on Spark beside one process's `model.predict`: rows a second, warm, and what the first call costs."""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import psutil

from benchmarks._table import Table
from benchmarks._table import add_common_arguments
from benchmarks._table import show

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

    from cerebro_nas.ml import HyperHyperEstimatorModel

_CLASSES = 10
_BATCH = 256


@dataclass(frozen=True)
class Case:
    """A network and the rows that it predicts.

    Attributes:
        name: what the table calls it.
        shape: shape of a row; in the DataFrame it is one vector.
        rows: how many.
    """

    name: str
    shape: tuple[int, ...]
    rows: int


CASES = (
    Case("table: 30 numbers, 2 x 128 dense", (30,), 200_000),
    Case("images: 28 x 28, small CNN", (28, 28, 1), 20_000),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m benchmarks inference`."""
    add_common_arguments(parser)
    parser.add_argument("--repeats", type=int, default=5, help="rounds; the sides take turns (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="task slots of the embedded Spark (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Measure and show the table."""
    from cerebro_nas.backend import local_spark_session
    from cerebro_nas.tracking import load_tensorflow
    from cerebro_nas.tracking import quiet_libraries

    quiet_libraries()
    spark = local_spark_session(arguments.cores, meanwhile=load_tensorflow)
    repeats, share = (2, 20) if arguments.quick else (arguments.repeats, 1)
    try:
        with tempfile.TemporaryDirectory(prefix="inference-") as folder:
            rows = [_measure(spark, case, max(1000, case.rows // share), repeats, Path(folder)) for case in CASES]
    finally:
        spark.stop()
    show([_table(rows, repeats, arguments.cores)], arguments.out, "inference")
    return 0


def _table(rows: list[tuple[object, ...]], repeats: int, cores: int) -> Table:
    return Table(
        "Prediction on Spark beside one process",
        (
            *("network", "parameters", "rows", "model.predict, rows/s", "transform, rows/s", "ratio"),
            *("model.predict, CPU us/row", "transform, CPU us/row", "reading alone, CPU us/row"),
            *("first transform s", "largest difference"),
        ),
        tuple(rows),
        (
            f"medians of {repeats} rounds in turn; model.predict: batches of {_BATCH}, arrays in memory, all cores",
            f"transform: from Parquet to a sink that drops the rows, {cores} task slots; first: Python workers start, "
            "load TensorFlow and the model",
            "CPU: of this process, the JVM and the Python workers together; reading alone: the same without the model",
            "difference: of the probabilities, on all rows",
        ),
    )


def _measure(spark: SparkSession, case: Case, count: int, repeats: int, folder: Path) -> tuple[object, ...]:
    import numpy as np

    rows = np.random.default_rng(0).random((count, *case.shape), dtype=np.float32)
    df = _parquet(spark, rows.reshape(count, -1), folder / str(len(case.shape)), spark.sparkContext.defaultParallelism)
    model = _model(case.shape)
    network = model.keras()
    first = _cost(lambda: _drain(model.transform(df)))
    network.predict(rows[:_BATCH], batch_size=_BATCH, verbose=0)
    sides: dict[str, Callable[[], object]] = {
        "predict": lambda: network.predict(rows, batch_size=_BATCH, verbose=0),
        "transform": lambda: _drain(model.transform(df)),
        "read": lambda: _drain(df),
    }
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            costs[name].append(_cost(work))
    speed = {name: count / statistics.median(wall for wall, _ in found) for name, found in costs.items()}
    cpu = {name: 1e6 * statistics.median(cpu for _, cpu in found) / count for name, found in costs.items()}
    found = model.transform(df).select("id", "probability").toPandas().sort_values("id")
    expected = network.predict(rows, batch_size=_BATCH, verbose=0)
    difference = np.abs(np.stack([vector.toArray() for vector in found["probability"]]) - expected).max()
    return (
        *(case.name, int(network.count_params()), count, round(speed["predict"]), round(speed["transform"])),
        *(speed["transform"] / speed["predict"], cpu["predict"], cpu["transform"], cpu["read"]),
        *(first[0], float(difference)),
    )


def _parquet(spark: SparkSession, rows: Any, folder: Path, parts: int) -> DataFrame:
    """Rows as vectors of Spark ML, in as many files as there are slots."""
    import pyarrow as pa
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    table = pa.table({"id": pa.array(range(len(rows))), "row": pa.array(list(rows.astype("float64")))})
    df = spark.createDataFrame(table.to_pandas())
    df = df.select("id", array_to_vector(F.col("row")).alias("features"))
    df.repartition(parts).write.parquet(str(folder))
    return spark.read.parquet(str(folder))


def _model(shape: tuple[int, ...]) -> HyperHyperEstimatorModel:
    """A fitted model as a search would give it, with the weights that a candidate begins with."""
    import keras

    from cerebro_nas.ml import HyperHyperEstimatorModel
    from cerebro_nas.ml._packed import Packed
    from cerebro_nas.ml._packed import packed_source
    from cerebro_nas.results import ModelSource
    from cerebro_nas.results import OutputSpec
    from cerebro_nas.worker import CandidateSpec
    from cerebro_nas.worker import ColumnSpec
    from cerebro_nas.worker import build_model
    from cerebro_nas.worker import dump_state

    keras.utils.clear_session()
    network = _network(shape)
    spec = CandidateSpec(
        trial="0",
        model=network.to_json(),
        optimizer=keras.optimizers.serialize(keras.optimizers.Adam()),
        loss=("categorical_crossentropy",),
        metrics=((),),
        seed=0,
    )
    state = dump_state(build_model(spec), {"trial": "0", "generation": 1})
    classes = tuple(f"class {number}" for number in range(_CLASSES))
    inputs = ((ColumnSpec("features", shape, "float32", "list"),),)
    outputs = (OutputSpec("label", "onehot", classes, _CLASSES),)
    source = packed_source(ModelSource("", inputs, outputs, (), 1, _BATCH), spec.to_json(), state)
    return HyperHyperEstimatorModel(Packed(source, "0"))


def _network(shape: tuple[int, ...]) -> Any:
    import keras

    node = inputs = keras.Input(shape)
    if len(shape) == 1:
        for _ in range(2):
            node = keras.layers.Dense(128, activation="relu")(node)
    else:
        for filters in (16, 32):
            node = keras.layers.Conv2D(filters, 3, activation="relu")(node)
            node = keras.layers.MaxPooling2D()(node)
        node = keras.layers.Flatten()(node)
        node = keras.layers.Dense(64, activation="relu")(node)
    return keras.Model(inputs, keras.layers.Dense(_CLASSES, activation="softmax")(node))


def _drain(df: DataFrame) -> None:
    df.write.format("noop").mode("overwrite").save()


def _cost(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds that it took, and processor seconds of this process and all that it has started."""
    before, start = _cpu(), time.perf_counter()
    work()
    took, after = time.perf_counter() - start, _cpu()
    return took, sum(seconds - before.get(process, 0.0) for process, seconds in after.items())


def _cpu() -> dict[int, float]:
    own = psutil.Process()
    found = {}
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found
