"""The estimator as Spark ML sees it: Params, copies, saving, and what it asks of a search."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import autokeras as ak
import keras_tuner
import pytest
from pyspark.ml import Pipeline
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.tuning import CrossValidator
from pyspark.ml.tuning import CrossValidatorModel
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.ml.tuning import TrainValidationSplit

from cerebro_nas import ml
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.ml import HyperHyperEstimator
from cerebro_nas.ml import HyperHyperEstimatorModel
from cerebro_nas.ml import _estimator
from cerebro_nas.ml import _search
from cerebro_nas.ml._graph import describe_ends
from cerebro_nas.ml._packed import Packed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.spark,
    # PySpark leaves sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    # So does `CrossValidator` with its pool of threads.
    pytest.mark.filterwarnings("ignore:unclosed running multiprocessing pool:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <function Pool:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _session(spark: SparkSession) -> None:
    """Params of Spark ML need no session; `getOrCreate` of a writer would make one of its own kind."""


def _graph() -> Any:
    start = ak.Input()
    return start, ak.ClassificationHead()(ak.DenseBlock(num_layers=1)(start))


def test_what_the_room_offers() -> None:
    assert sorted(ml.__all__) == ["HyperHyperEstimator", "HyperHyperEstimatorModel"]


def test_defaults_are_those_of_spark() -> None:
    estimator = HyperHyperEstimator()
    assert (estimator.getFeaturesCols(), estimator.getLabelCol()) == (["features"], "label")
    columns = (estimator.getPredictionCol(), estimator.getProbabilityCol(), estimator.getRawPredictionCol())
    assert columns == ("prediction", "probability", "rawPrediction")
    assert (estimator.getPredictedLabelCol(), estimator.getLabelIndexCol()) == ("predictedLabel", "labelIndex")
    assert (estimator.getTuner(), estimator.getBatchSize(), estimator.getValidationFraction()) == ("greedy", 32, 0.2)
    assert (estimator.getSeed(), estimator.getVerbose()) == (0, 0)
    for name in ("maxTrials", "epochs", "objective", "store", "numWorkers", "task", "weightCol"):
        assert not estimator.isDefined(name), name
    assert "maxTrials: trials at most" in estimator.explainParams()


VALUES: dict[str, Any] = {
    "task": "ImageClassifier",
    "featuresCol": "f",
    "featuresCols": [["a", "b"], ["c"]],
    "labelCol": "y",
    "predictionCol": "p",
    "probabilityCol": "q",
    "rawPredictionCol": "r",
    "predictedLabelCol": "s",
    "labelIndexCol": "t",
    "weightCol": "w",
    "validationIndicatorCol": "v",
    "validationFraction": 0.3,
    "tuner": "random",
    "tunerOptions": {"time_budget": "1h"},
    "objective": "val_accuracy",
    "maxTrials": 3,
    "epochs": 2,
    "batchSize": 64,
    "inputShape": [8, 8, 1],
    "numWorkers": 2,
    "backendOptions": {"min_workers": 1},
    "store": "/tmp/x",
    "projectName": "x",
    "seed": 5,
    "verbose": 2,
}


def test_the_constructor_and_the_setters_say_the_same() -> None:
    built, told = HyperHyperEstimator(**VALUES), HyperHyperEstimator()
    for name, value in VALUES.items():
        assert getattr(told, f"set{name[0].upper()}{name[1:]}")(value) is told
    assert {p.name: v for p, v in built._paramMap.items()} == {p.name: v for p, v in told._paramMap.items()} == VALUES
    for name, value in VALUES.items():
        assert getattr(built, f"get{name[0].upper()}{name[1:]}")() == value
    assert {p.name for p in built.params} == {*VALUES, "hyperparameters"}


def test_several_params_are_set_at_once() -> None:
    start, end = _graph()
    estimator = HyperHyperEstimator(task="ImageRegressor", epochs=3)
    assert estimator.setParams(maxTrials=4, featuresCols=["a", "b"], epochs=None, seed=0) is estimator
    found = estimator.getTask(), estimator.getMaxTrials(), estimator.getFeaturesCols(), estimator.getEpochs()
    assert found == ("ImageRegressor", 4, ["a", "b"], 3)
    assert estimator.getGraph() is None
    graph = estimator.setParams(inputs=start, outputs=end, epochs=5).getGraph()
    assert graph is not None
    assert (graph[0], estimator.getEpochs(), estimator.getMaxTrials()) == ([start], 5, 4)
    wrong: list[tuple[tuple[Any, ...], dict[str, Any]]] = [((3,), {}), ((), {"max_trials": 3})]
    for arguments, named in wrong:
        with pytest.raises(TypeError, match="keyword arguments|max_trials"):
            estimator.setParams(*arguments, **named)


def test_the_constructor_and_set_params_take_the_same() -> None:
    constructor, several = (
        inspect.signature(method).parameters for method in (HyperHyperEstimator.__init__, HyperHyperEstimator.setParams)
    )
    assert constructor == several
    params = {param.name for param in HyperHyperEstimator().params}
    assert set(several) - {"self", "inputs", "outputs"} == params


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("maxTrials", "many"),
        ("featuresCols", "a"),
        ("featuresCols", []),
        ("featuresCols", ["a", ["b"]]),
        ("featuresCols", [[]]),
        ("tunerOptions", {"stoppers": object()}),
        ("tunerOptions", [1]),
        ("hyperparameters", 3),
    ],
)
def test_values_that_no_param_takes(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f'Invalid param value given for param "{name}"'):
        HyperHyperEstimator(**{name: value})


def test_hyperparameters_become_plain_values() -> None:
    entries = keras_tuner.HyperParameters()
    entries.Fixed("learning_rate", 0.01)
    entries.Choice("optimizer", ["adam", "sgd"])
    found = HyperHyperEstimator(hyperparameters=entries).getHyperparameters()
    again = keras_tuner.HyperParameters.from_config(found)
    assert [entry.get_config() for entry in again.space] == [entry.get_config() for entry in entries.space]


def test_a_copy_has_params_of_its_own_and_the_same_graph() -> None:
    estimator = HyperHyperEstimator(inputs=_graph()[0], outputs=ak.ClassificationHead(), maxTrials=3)
    copy = estimator.copy({estimator.maxTrials: 5, estimator.tuner: "random"})
    assert (copy.getMaxTrials(), copy.getTuner(), copy.uid) == (5, "random", estimator.uid)
    assert (estimator.getMaxTrials(), estimator.getTuner()) == (3, "greedy")
    assert copy.getGraph() is estimator.getGraph() is not None


def test_nothing_to_search() -> None:
    with pytest.raises(ConfigError, match="or `task`, must say what is searched. Received: neither"):
        HyperHyperEstimator()._fit(None)  # type: ignore[arg-type]


def test_a_graph_and_a_task() -> None:
    both = HyperHyperEstimator(task="StructuredDataRegressor", inputs=ak.Input(), outputs=ak.RegressionHead())
    with pytest.raises(ConfigError, match="Received: both"):
        both._fit(None)  # type: ignore[arg-type]


def test_what_is_told_to_a_search() -> None:
    given = HyperHyperEstimator(**VALUES)
    assert _search._column_arguments(given) == {
        "feature_columns": [["a", "b"], ["c"]],
        "label_columns": ["y"],
        "validation": "v",
        "sample_weight_column": "w",
    }
    assert _search._tuner_arguments(given) == {"time_budget": "1h", "objective": "val_accuracy", "max_trials": 3}
    assert _search._backend_arguments(given) == {"min_workers": 1, "num_workers": 2}
    plain = HyperHyperEstimator()
    assert _search._column_arguments(plain) == {
        "feature_columns": ["features"],
        "label_columns": ["label"],
        "validation": 0.2,
    }
    assert _search._tuner_arguments(plain) == _search._backend_arguments(plain) == {}


class _Session:
    def __init__(self, master: str) -> None:
        self.conf = {"spark.master": master}


def _placed(estimator: HyperHyperEstimator, master: str = "local[2]") -> tuple[Path, str, bool]:
    with _search._place(estimator, _Session(master)) as (store, name):  # type: ignore[arg-type]
        store.create_owned(store.data_url(name), "data set")
        place = Path(store.data_url(name))
        assert place.exists()
    return store.prefix_path, name, place.exists()


def test_files_without_a_name_are_removed(tmp_path: Path) -> None:
    for estimator in (HyperHyperEstimator(), HyperHyperEstimator(store=str(tmp_path / "store"))):
        (one, name, kept), (other, *_) = _placed(estimator), _placed(estimator)
        assert one != other
        assert name.startswith("fit_")
        assert not kept
        assert not one.exists()
    assert list((tmp_path / "store").iterdir()) == []


def test_files_with_a_name_stay(tmp_path: Path) -> None:
    estimator = HyperHyperEstimator(store=str(tmp_path / "store"), projectName="p")
    assert _placed(estimator) == (tmp_path / "store", "p", True)


@pytest.mark.parametrize(("params", "master"), [({}, "spark://host:7077"), ({"projectName": "p"}, "local[2]")])
def test_where_a_store_is_needed(params: dict[str, Any], master: str) -> None:
    with pytest.raises(ConfigError, match="`store` must be set"):
        _placed(HyperHyperEstimator(**params), master)


def test_saved_and_loaded_without_a_fit(tmp_path: Path) -> None:
    start, end = _graph()
    entries = keras_tuner.HyperParameters()
    entries.Fixed("learning_rate", 0.01)
    estimator = HyperHyperEstimator(inputs=start, outputs=end, hyperparameters=entries, **VALUES)
    estimator.save(str(tmp_path / "saved"))
    again = HyperHyperEstimator.load(str(tmp_path / "saved"))
    assert again.uid == estimator.uid
    assert {p.name: v for p, v in again._paramMap.items()} == {p.name: v for p, v in estimator._paramMap.items()}
    given, found = estimator.getGraph(), again.getGraph()
    assert given is not None
    assert found is not None
    assert describe_ends(found) == describe_ends(given)
    assert not list((tmp_path / "saved").rglob("*.pkl"))


def test_a_graph_with_a_function_of_the_users_is_not_saved(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    HyperHyperEstimator(task="StructuredDataRegressor").save(str(saved))
    head = ak.RegressionHead(loss=lambda y_true, y_pred: y_true - y_pred)
    writer = HyperHyperEstimator(inputs=ak.Input(), outputs=head).write()
    with pytest.raises(ConfigError, match="written down without pickle"):
        writer.overwrite().save(str(saved))
    # Nothing was overwritten.
    assert HyperHyperEstimator.load(str(saved)).getTask() == "StructuredDataRegressor"


def test_a_graph_that_was_changed_is_refused(tmp_path: Path) -> None:
    start, end = _graph()
    HyperHyperEstimator(inputs=start, outputs=end).save(str(tmp_path / "saved"))
    (text,) = (tmp_path / "saved" / "metadata").glob("part-*.txt")
    (text.parent / f".{text.name}.crc").unlink()
    text.write_text(text.read_text().replace('"takes"', '"took"'))
    with pytest.raises(CorruptStateError, match="cannot be made from its description"):
        HyperHyperEstimator.load(str(tmp_path / "saved"))


# --- inside Spark's own searches, with a model that needs no training -------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, make_packed: Callable[..., Packed]) -> list[HyperHyperEstimator]:
    """Fits give a model at once; the list has the estimators, with the Params of each fit."""
    seen: list[HyperHyperEstimator] = []
    packed = make_packed("onehot", ("a", "b", "c"))

    def run(params: HyperHyperEstimator, ends: Any, dataset: DataFrame) -> tuple[Packed, None]:
        seen.append(params)
        return packed, None

    monkeypatch.setattr(_estimator, "run_search", run)
    return seen


@pytest.fixture
def frame(spark: SparkSession, rows: Any) -> DataFrame:
    values = [(row.tolist(), "abc"[number % 3]) for number, row in enumerate(rows)]
    return spark.createDataFrame(values, "features array<double>, label string").coalesce(1)


def _evaluator() -> MulticlassClassificationEvaluator:
    return MulticlassClassificationEvaluator(labelCol="labelIndex", metricName="accuracy")


def test_the_model_has_the_uid_and_columns_of_the_estimator(quick: Any, frame: DataFrame) -> None:
    estimator = HyperHyperEstimator(task="StructuredDataClassifier", predictionCol="p", labelCol="y")
    model = estimator.fit(frame, {estimator.predictionCol: "other"})
    assert isinstance(model, HyperHyperEstimatorModel)
    assert (model.uid, model.getPredictionCol(), model.getLabelCol()) == (estimator.uid, "other", "y")
    assert not model.hasSummary
    models = estimator.fit(frame, [{estimator.maxTrials: 1}, {estimator.maxTrials: 2}])
    assert len(models) == 2
    assert sorted(params.getMaxTrials() for params in quick[1:]) == [1, 2]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_cross_validation(quick: Any, frame: DataFrame, tmp_path: Path) -> None:
    estimator = HyperHyperEstimator(task="StructuredDataClassifier")
    grid = ParamGridBuilder().addGrid(estimator.tuner, ["random", "tpe"]).build()
    search = CrossValidator(
        estimator=Pipeline(stages=[estimator]), estimatorParamMaps=grid, evaluator=_evaluator(), numFolds=2
    )
    search.save(str(tmp_path / "search"))
    assert CrossValidator.load(str(tmp_path / "search")).getEstimatorParamMaps() == grid
    found = search.fit(frame)
    assert [params.getTuner() for params in quick] == ["random", "tpe", "random", "tpe", "random"]
    # The same model everywhere: its accuracy on the halves is that on the whole, weighted.
    assert found.avgMetrics[0] == found.avgMetrics[1]
    found.save(str(tmp_path / "found"))
    again = CrossValidatorModel.load(str(tmp_path / "found"))
    assert again.transform(frame).collect() == found.transform(frame).collect()
    assert _evaluator().evaluate(again.transform(frame)) == _evaluator().evaluate(found.transform(frame))


@pytest.mark.timeout(300)
def test_train_validation_split(quick: Any, frame: DataFrame) -> None:
    estimator = HyperHyperEstimator(task="StructuredDataClassifier")
    grid = ParamGridBuilder().addGrid(estimator.maxTrials, [1, 2]).build()
    search = TrainValidationSplit(
        estimator=estimator, estimatorParamMaps=grid, evaluator=_evaluator(), parallelism=2, seed=1
    )
    assert isinstance(search.fit(frame).bestModel, HyperHyperEstimatorModel)
    assert sorted(params.getMaxTrials() for params in quick[:2]) == [1, 2]
