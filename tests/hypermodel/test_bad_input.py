"""Mistakes: each gives one clear error, before Spark does any work that it need not do to find out."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import autokeras as ak
import keras
import numpy as np
import pandas as pd
import pytest

from cerebro_nas import HyperHyperModel
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend import SparkBackend
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import DataError
from cerebro_nas.errors import LockedError
from cerebro_nas.errors import SearchAborted
from cerebro_nas.errors import StoreError
from cerebro_nas.journal import DirectoryLock

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

# Py4J leaves the socket of a thread that ended to the garbage collector, which says so.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

Make = Callable[..., HyperHyperModel]


class Refusing(SimulatedBackend):
    """Fails when it is asked to start."""

    def start(self, search: Any) -> None:
        raise AssertionError("the backend was started")


class Untouchable:
    """A DataFrame of which only the schema may be read."""

    def __init__(self) -> None:
        from pyspark.sql import types as T

        self.schema = T.StructType()
        self.schema.add("features", T.ArrayType(T.DoubleType())).add("label", T.LongType()).add("other", T.LongType())
        self.columns = self.schema.names

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the DataFrame was asked for {name}")

    def __getitem__(self, name: str) -> Any:
        raise AssertionError(f"the DataFrame was asked for column {name}")


def _graph() -> tuple[Any, Any]:
    inputs = ak.ImageInput()
    return inputs, ak.ClassificationHead()(ak.DenseBlock(num_layers=1)(inputs))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A hypermodel that is bound; `fit` on it stops at the first thing it does."""

    def of(backend: Any = None, **changed: Any) -> HyperHyperModel:
        model = HyperHyperModel(*_graph(), seed=0)
        arguments = {
            "store": str(tmp_path / "store"),
            "evaluation_metric": "accuracy",
            "label_columns": ["label"],
            "feature_columns": ["features"],
            "verbose": 0,
        }
        model.resource_bind(backend=backend or Refusing(2), **{**arguments, **changed})
        return model

    return of


# --- without any data -------------------------------------------------------------------------------------------------


@pytest.mark.case(25, 32)
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"max_trials": 0}, "`max_trials` must be a positive integer. Received: max_trials=0. Pass 1 or more."),
        ({"max_trails": 3}, "Did you mean 'max_trials'?"),
        ({"max_model_size": 0}, "`max_model_size` must be a positive integer"),
        ({"seed": -1}, "`seed` must be"),
        ({"project_name": "a/b"}, "a/b"),
        ({"project_name": "../../x"}, "Received: project_name='../../x'"),
        ({"project_name": "x" * 300}, "`project_name` must be a plain name of 1 to 120 characters"),
        ({"max_trials": -1}, "Received: max_trials=-1"),
        ({"max_trials": 2, "overwrite": "yes"}, "`overwrite` must be True or False"),
        ({"tuner": "greedyy"}, "Did you mean 'greedy'?"),
        ({"objective": "val_acuracy"}, "objective='val_acuracy'"),
    ],
)
def test_arguments_of_the_constructor(make: Make, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        # A tuner and an objective may only be judged once they are all known, but no later than this.
        model = HyperHyperModel(*_graph(), **arguments)
        model.resource_bind(backend=Refusing(2), store="unused", label_columns="label", feature_columns="features")
        unused: Any = Untouchable()
        model.fit(unused)


@pytest.mark.case(32)
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"tuner": "gredy"}, "Received: tuner='gredy'. Did you mean 'greedy'?"),
        ({"tuner": 3}, "Received: tuner=3"),
        ({"max_trials": 0}, "Received: max_trials=0"),
        ({"exploration": 1.5}, "Received: exploration=1.5"),
        ({"tuner": "random", "exploration": 0.5}, "exploration"),
        ({"explorations": 0.5}, "explorations"),
        ({"objective": "val_acuracy"}, "Received: objective='val_acuracy'"),
        ({"parallelism": 0}, "Received: parallelism=0"),
        ({"parallelism": 8, "max_trials": 3}, "`parallelism` must be at most `max_trials`"),
        ({"hyperparameter": None}, "Did you mean 'hyperparameters', which `tuner_bind` itself takes?"),
        ({"tuner": "random", "max_trial": 3}, "Did you mean 'max_trials', which `tuner_bind` itself takes?"),
        ({"tuner": "hyperband", "facter": 3}, "Did you mean 'factor'?"),
        ({"tuner": "random", "factor": 3}, "Received: factor. Remove what is not needed."),
        ({"stoppers": "medain"}, "Received: stoppers='medain'. Did you mean 'median'?"),
        ({"stoppers": ["median", "learningcurve"]}, "Did you mean 'learning_curve'?"),
    ],
)
def test_arguments_of_tuner_bind(make: Make, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        make().tuner_bind(**arguments)


@pytest.mark.case(32)
def test_every_argument_of_tuner_bind_is_suggested(make: Make) -> None:
    own = [name for name in inspect.signature(HyperHyperModel.tuner_bind).parameters if name not in ("self", "options")]
    for name in own:
        slip: dict[str, Any] = {f"{name}_": 1}
        with pytest.raises(ConfigError, match=f"Did you mean '{name}', which `tuner_bind` itself takes"):
            make().tuner_bind(**slip)


@pytest.mark.case(32)
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"epochs": 0}, "`epochs` must be a positive integer. Received: epochs=0"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer. Received: batch_size=0"),
        ({"input_shape": (8, -8)}, "`input_shape` must be"),
        ({"callbacks": ["stop"]}, "`callbacks` may hold"),
        ({"callbacks": keras.callbacks.EarlyStopping()}, "`callbacks`"),
        ({"verbose": 7}, "`verbose` must be"),
        ({"verbose": "loud"}, "`verbose` must be"),
    ],
)
@pytest.mark.parametrize("call", ["fit", "fit_on_prepared_data"])
def test_arguments_of_fit(make: Make, call: str, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        getattr(make(), call)(Untouchable(), **arguments)


@pytest.mark.case(31)
@pytest.mark.parametrize("metric", ["acuracy", "precison", "val_acuracy"])
def test_an_evaluation_metric_that_nobody_knows(make: Make, metric: str) -> None:
    unused: Any = Untouchable()
    with pytest.raises(ConfigError, match=metric):
        make(evaluation_metric=metric).fit(unused)


@pytest.mark.case(31)
@pytest.mark.parametrize("objective", ["val_auc", "auc", "val_mean_squared_error"])
def test_an_objective_that_the_head_does_not_report(make: Make, objective: str) -> None:
    model = make()
    unused: Any = Untouchable()
    with pytest.raises(ConfigError, match=rf"`objective` must be a metric that.*val_accuracy.*objective='{objective}'"):
        model.tuner_bind("greedy", objective=objective)
        model.fit(unused)


@pytest.mark.case(31)
@pytest.mark.parametrize(
    ("metric", "told"), [("acuracy", "Did you mean 'accuracy'?"), ("auc", "or give the head that")]
)
@pytest.mark.parametrize("objective", [None, "val_loss"])
def test_a_metric_of_the_backend_that_the_head_does_not_report(
    make: Make, metric: str, told: str, objective: str | None
) -> None:
    model = make(evaluation_metric=metric)
    unused: Any = Untouchable()
    text = (
        "`evaluation_metric` must be a metric that the candidates report: loss, accuracy. Received: evaluation_metric="
    )
    with pytest.raises(ConfigError, match=re.escape(text) + f"'{metric}'.*" + re.escape(told)):
        model.tuner_bind("greedy", objective=objective)
        model.fit(unused)


@pytest.mark.case(32)
@pytest.mark.parametrize(
    "x", [np.zeros((4, 2)), [np.zeros((4, 2))], pd.DataFrame({"a": [1, 2]})], ids=lambda x: type(x).__name__
)
def test_arrays_by_position(make: Make, x: Any) -> None:
    labels: Any = np.zeros(4)
    with pytest.raises(ConfigError, match=r"`df` must be a Spark DataFrame.*Pass arrays by name: `fit\(x=\.\.\., y="):
        make().fit(x, labels)


@pytest.mark.case(31)
@pytest.mark.parametrize(
    ("metric", "objective", "direction"),
    [("accuracy", "val_accuracy", "max"), ("acc", "val_accuracy", "max"), ("loss", "val_loss", "min")],
)
def test_the_metric_of_the_backend_is_the_objective_in_its_own_direction(
    make: Make, metric: str, objective: str, direction: str
) -> None:
    model = make(evaluation_metric=metric)
    made = model._make_tuner(model._settings, None, None, None).objective
    assert (made.name, made.direction) == (objective, direction)


@pytest.mark.case(32)
def test_the_tuner_may_be_left_out(make: Make) -> None:
    """Every check before Spark passes, and the data is the first thing that is looked at."""
    model = make()
    unused: Any = None
    with pytest.raises(ConfigError, match="`fit` needs a DataFrame, or arrays"):
        model.fit(unused)
    assert model._settings.tuner == "greedy"


def test_two_labels_for_one_head(make: Make) -> None:
    unused: Any = Untouchable()
    with pytest.raises(ConfigError, match="`label_columns` should name one column for each of the 1 heads"):
        make(label_columns=["label", "other"]).fit(unused)


def test_something_that_is_no_dataframe(make: Make) -> None:
    for value in (None, [1, 2], "table"):
        with pytest.raises((ConfigError, DataError), match="DataFrame"):
            make().fit(value)  # type: ignore[arg-type]


# --- with data --------------------------------------------------------------------------------------------------------


@pytest.fixture
def jobs(spark: SparkSession) -> Iterator[Callable[[], int]]:
    """Counts the Spark jobs of a test."""
    tracker, group = spark.sparkContext.statusTracker(), "bad-input"
    before = len(tracker.getJobIdsForGroup(group))
    spark.sparkContext.setJobGroup(group, "mistakes")
    yield lambda: len(tracker.getJobIdsForGroup(group)) - before
    spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)  # type: ignore[arg-type]


def _table(spark: SparkSession, rows: list[tuple[Any, Any]], label: str = "int") -> DataFrame:
    return spark.createDataFrame(rows, f"features array<double>, label {label}")


def _good(spark: SparkSession) -> DataFrame:
    return _table(spark, [([float(n)] * 4, n % 2) for n in range(12)])


@pytest.mark.spark
def test_the_count_counts(spark: SparkSession, jobs: Callable[[], int]) -> None:
    assert jobs() == 0
    assert _good(spark).count() == 12
    assert jobs() > 0


@pytest.mark.case(29)
@pytest.mark.spark
@pytest.mark.parametrize(
    ("changed", "arguments", "told"),
    [
        ({"feature_columns": ["feature"]}, {}, "there is no column 'feature'; did you mean 'features'?"),
        ({"label_columns": ["lable"]}, {}, "there is no column 'lable'; did you mean 'label'?"),
        ({"validation": "is_valid"}, {}, "there is no column 'is_valid'"),
        ({"validation": "label"}, {}, "validation column 'label' must be boolean"),
        ({"feature_columns": ["label"]}, {}, "more than once"),
    ],
)
def test_columns(
    spark: SparkSession, jobs: Callable[[], int], make: Make, changed: Any, arguments: Any, told: str
) -> None:
    df = _good(spark)
    with pytest.raises(DataError, match=re.escape(told)):
        make(**changed).fit(df, epochs=1, **arguments)
    assert jobs() == 0


@pytest.mark.case(29)
@pytest.mark.spark
def test_all_mistakes_in_columns_are_told_at_once(spark: SparkSession, make: Make) -> None:
    df = _good(spark)
    with pytest.raises(DataError) as caught:
        make(feature_columns=["featuers"], label_columns=["lable"]).fit(df)
    assert str(caught.value).count("did you mean") == 2


@pytest.mark.case(8)
@pytest.mark.spark
def test_fewer_slots_than_workers(spark: SparkSession, jobs: Callable[[], int], make: Make) -> None:
    df = _good(spark)
    with pytest.raises(BackendError, match="needs 3 task slots, Spark has 2. Received: num_workers=3"):
        make(SparkBackend(spark=spark, num_workers=3)).fit(df)
    assert jobs() == 0


@pytest.mark.spark
@pytest.mark.case(26)
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_directory_that_is_not_ours(
    spark: SparkSession, jobs: Callable[[], int], make: Make, tmp_path: Path, overwrite: bool
) -> None:
    model, df = make(), _good(spark)
    model.tuner_bind(overwrite=overwrite)
    directory = tmp_path / "store" / "runs" / "auto_model"
    directory.mkdir(parents=True)
    (directory / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match="holds files that cerebro_nas did not write"):
        model.fit(df, input_shape=(2, 2, 1))
    assert jobs() == 0
    assert (directory / "thesis.tex").read_text() == "years of work"


@pytest.mark.spark
@pytest.mark.case(27)
def test_a_search_that_another_driver_runs(
    spark: SparkSession, jobs: Callable[[], int], make: Make, tmp_path: Path
) -> None:
    model, df = make(), _good(spark)
    (tmp_path / "store" / "runs").mkdir(parents=True)
    with DirectoryLock(tmp_path / "store" / "runs" / ".auto_model.lock"), pytest.raises(LockedError, match="process"):
        model.fit(df, input_shape=(2, 2, 1))
    assert jobs() == 0


@pytest.mark.case(28, 29)
@pytest.mark.spark
@pytest.mark.parametrize(
    ("rows", "arguments", "told"),
    [
        ([], {}, "There must be rows. Received: a DataFrame of 0 rows"),
        ([([1.0] * 4, 0), (None, 1), ([1.0] * 4, 1)], {}, "column 'features': null in 1 of 3 rows"),
        ([([1.0] * 4, 0), ([1.0, None] * 2, 1)], {}, "column 'features': null in 1 of 2 rows"),
        ([([1.0] * 4, 0), ([float("nan")] * 4, 1)], {}, "column 'features': NaN or infinite in 1 of 2 rows"),
        ([([1.0] * 4, 0), ([1.0] * 4, None)], {}, "column 'label': null in 1 of 2 rows"),
        ([([1.0] * 4, 0), ([1.0] * 3, 1)], {}, "column 'features'"),
        ([([1.0] * 4, 0), ([1.0] * 4, 1)], {"input_shape": (3, 3, 1)}, "input_shape=(3, 3, 1)"),
        ([([1.0] * 4, 0), ([1.0] * 4, 1)], {"input_shape": (2, 2, 1)}, "at least one training row for each"),
    ],
    ids=["no rows", "null", "null inside", "nan", "null label", "sizes", "shape", "too few"],
)
def test_rows(
    spark: SparkSession, make: Make, tmp_path: Path, rows: list[Any], arguments: dict[str, Any], told: str
) -> None:
    """Only reading the rows shows it; nothing is trained, and nothing is left in the store."""
    backend = SimulatedBackend(2)
    with pytest.raises(DataError, match=re.escape(told)):
        make(backend).fit(_table(spark, rows).coalesce(1), **arguments)
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file() and path.suffix != ".lock"] == []


@pytest.mark.case(29)
def test_rows_of_arrays(make: Make) -> None:
    x, y = np.zeros((6, 2, 2, 1), np.float32), np.arange(6) % 2
    x[4, 1, 0] = np.nan
    told = r"NaN or infinite in 1 of 6 rows.*(\n.*)*Received: arrays of 6 rows.*\(row numbers count from 0, those of"
    with pytest.raises(DataError, match=told):
        make(SimulatedBackend(2)).fit(x=x, y=y)


@pytest.mark.case(29)
@pytest.mark.spark
def test_vectors_of_differing_length_in_different_partitions(spark: SparkSession, make: Make) -> None:
    from pyspark.ml.linalg import Vectors

    rows = [(Vectors.dense([1.0] * (4 if n < 6 else 5)), n % 2) for n in range(12)]
    df = spark.createDataFrame(spark.sparkContext.parallelize(rows, 2), ["features", "label"])
    with pytest.raises(DataError, match=r"column 'features': rows of differing size, \[4, 5\]"):
        make(SimulatedBackend(2)).fit(df)


@pytest.mark.case(30)
@pytest.mark.spark
@pytest.mark.parametrize(
    ("rows", "label", "told"),
    [
        ([([1.0] * 4, 3)] * 6, "int", "at least two classes"),
        (
            [([float(n)] * 5, n % 2) for n in range(6)],
            "int",
            "An `ImageInput` should be given images of shape",
        ),
    ],
    ids=["one class", "no image"],
)
def test_data_that_the_graph_cannot_use(
    spark: SparkSession, make: Make, rows: list[Any], label: str, told: str
) -> None:
    shape = (2, 2, 1) if len(rows[0][0]) == 4 else None
    with pytest.raises(ConfigError, match=re.escape(told)):
        make(SimulatedBackend(2)).fit(_table(spark, rows, label), input_shape=shape)


@pytest.mark.spark
@pytest.mark.case(15)
def test_losses_that_overflow_end_a_search_with_the_reason(spark: SparkSession, tmp_path: Path) -> None:
    """On real workers: every candidate fails by itself, and three alike are enough to say so."""
    entry = ak.Input()
    model = HyperHyperModel(entry, ak.RegressionHead()(ak.DenseBlock(num_layers=1)(entry)), seed=0, max_trials=5)
    model.resource_bind(
        SparkBackend(spark=spark, num_workers=1),
        str(tmp_path),
        label_columns="label",
        feature_columns="features",
        verbose=0,
    )
    rows = [([float(n), 1.0], 1e30 * (n + 1)) for n in range(20)]
    df = _table(spark, rows, "double")
    with pytest.raises(SearchAborted, match="first 3 trials that ended all failed with reason 'nan_loss'.*became inf"):
        model.fit(df, epochs=1)
