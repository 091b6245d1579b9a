"""The search as an estimator."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from pyspark import keyword_only
from pyspark.ml import Estimator
from pyspark.ml.util import MLReadable
from pyspark.ml.util import MLWritable

from cerebro_nas.ml._graph import Ends
from cerebro_nas.ml._graph import describe_ends
from cerebro_nas.ml._graph import ends_from_plain
from cerebro_nas.ml._graph import ends_of
from cerebro_nas.ml._model import HyperHyperEstimatorModel
from cerebro_nas.ml._params import SearchParams
from cerebro_nas.ml._persist import Files
from cerebro_nas.ml._persist import PlainReader
from cerebro_nas.ml._persist import PlainWriter
from cerebro_nas.ml._search import run_search

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class HyperHyperEstimator(
    Estimator[HyperHyperEstimatorModel], SearchParams, MLReadable["HyperHyperEstimator"], MLWritable
):
    """A model search as a stage of a Spark ML pipeline: `fit` searches, and gives the best model.

    What is searched is a graph of AutoKeras blocks (`inputs` and `outputs`, one head) or an AutoKeras `task`. All else
    are Params, with setters, which `CrossValidator` may vary. `explainParams()` lists them. Fits of one process run one
    after another.

    Args:
        inputs: an AutoKeras input (`ak.StructuredDataInput()`), or a list of them.
        outputs: what a head returned, or a head alone: then the blocks are those that AutoKeras chooses.
        task: instead of a graph, `"StructuredDataClassifier"`, `"ImageRegressor"` and the like.
        featuresCol: feature column.
        featuresCols: feature columns, or one list of them for each input.
        labelCol: label column.
        predictionCol: see `HyperHyperEstimatorModel`, also for `probabilityCol`, `rawPredictionCol`,
            `predictedLabelCol` and `labelIndexCol`.
        weightCol: column of sample weights.
        validationIndicatorCol: boolean column that marks the rows that candidates are validated on.
        validationFraction: their share, where no column marks them.
        tuner: name of the search algorithm.
        tunerOptions: further arguments of `HyperHyperModel.tuner_bind`.
        hyperparameters: entries that replace those of the graph with the same name.
        objective: metric to optimise.
        maxTrials: trials at most.
        epochs: epochs per trial at most; without it, up to 1000 with early stopping.
        batchSize: rows per training step.
        inputShape: shape of one row of a single feature column.
        numWorkers: workers; all task slots if not set.
        backendOptions: further arguments of `SparkBackend`.
        store: directory that all machines reach under the same path; on one machine, a temporary one if not set.
        projectName: name under which the search's files stay in the store.
        seed: seed of the data's shuffle, the tuner and the initial weights.
        verbose: 0 silent, 1 live, 2 plain lines.

    Example:
        ```python
        estimator = HyperHyperEstimator(task="StructuredDataClassifier", labelCol="species", maxTrials=10, epochs=20)
        model = Pipeline(stages=[VectorAssembler(inputCols=names, outputCol="features"), estimator]).fit(df)
        model.transform(df).select("species", "predictedLabel", "probability").show()
        ```
    """

    @keyword_only
    def __init__(
        self,
        *,
        inputs: Any = None,
        outputs: Any = None,
        task: str | None = None,
        featuresCol: str | None = None,
        featuresCols: Sequence[str] | Sequence[Sequence[str]] | None = None,
        labelCol: str | None = None,
        predictionCol: str | None = None,
        probabilityCol: str | None = None,
        rawPredictionCol: str | None = None,
        predictedLabelCol: str | None = None,
        labelIndexCol: str | None = None,
        weightCol: str | None = None,
        validationIndicatorCol: str | None = None,
        validationFraction: float | None = None,
        tuner: str | None = None,
        tunerOptions: Mapping[str, Any] | None = None,
        hyperparameters: Any = None,
        objective: str | None = None,
        maxTrials: int | None = None,
        epochs: int | None = None,
        batchSize: int | None = None,
        inputShape: Sequence[int] | None = None,
        numWorkers: int | None = None,
        backendOptions: Mapping[str, Any] | None = None,
        store: str | None = None,
        projectName: str | None = None,
        seed: int | None = None,
        verbose: int | None = None,
    ) -> None:
        super().__init__()
        self._ends: Ends | None = None
        self.setParams(**self._input_kwargs)

    _input_kwargs: dict[str, Any]

    @keyword_only
    def setParams(
        self,
        *,
        inputs: Any = None,
        outputs: Any = None,
        task: str | None = None,
        featuresCol: str | None = None,
        featuresCols: Sequence[str] | Sequence[Sequence[str]] | None = None,
        labelCol: str | None = None,
        predictionCol: str | None = None,
        probabilityCol: str | None = None,
        rawPredictionCol: str | None = None,
        predictedLabelCol: str | None = None,
        labelIndexCol: str | None = None,
        weightCol: str | None = None,
        validationIndicatorCol: str | None = None,
        validationFraction: float | None = None,
        tuner: str | None = None,
        tunerOptions: Mapping[str, Any] | None = None,
        hyperparameters: Any = None,
        objective: str | None = None,
        maxTrials: int | None = None,
        epochs: int | None = None,
        batchSize: int | None = None,
        inputShape: Sequence[int] | None = None,
        numWorkers: int | None = None,
        backendOptions: Mapping[str, Any] | None = None,
        store: str | None = None,
        projectName: str | None = None,
        seed: int | None = None,
        verbose: int | None = None,
    ) -> HyperHyperEstimator:
        """Set Params, and the graph, by the names that the constructor has; what is left out stays as it is."""
        given: dict[str, Any] = {name: value for name, value in self._input_kwargs.items() if value is not None}
        start, end = given.pop("inputs", None), given.pop("outputs", None)
        if start is not None or end is not None:
            self.setGraph(start, end)
        return self._set(**given)

    def setGraph(self, inputs: Any, outputs: Any) -> HyperHyperEstimator:
        """Search this graph: see the constructor. It is copied for each fit, and never changed."""
        self._ends = ends_of(inputs, outputs)
        return self

    def getGraph(self) -> Ends | None:
        """Inputs and outputs of the graph, if one was given."""
        return self._ends

    def write(self) -> PlainWriter:
        """A writer: `estimator.write().overwrite().save(path)`.

        Saving raises `ConfigError` where the graph holds classes or functions that are not registered with
        `keras.saving.register_keras_serializable`.
        """
        return PlainWriter(self, self._described)

    @classmethod
    def read(cls) -> PlainReader[HyperHyperEstimator]:
        """A reader of what `write` wrote."""
        return PlainReader(cls, _restore)

    def _described(self) -> tuple[dict[str, Any], Files]:
        return {"graph": None if self._ends is None else describe_ends(self._ends)}, {}

    def _fit(self, dataset: DataFrame) -> HyperHyperEstimatorModel:
        packed, result = run_search(self, self._ends, dataset)
        model = HyperHyperEstimatorModel(packed, result)
        # As Spark's models do, so that Params of the estimator apply to its model.
        model._resetUid(self.uid)
        return self._copyValues(model)


def _restore(estimator: HyperHyperEstimator, plain: dict[str, Any], files: Files) -> None:
    graph = plain.get("graph")
    estimator._ends = None if graph is None else ends_from_plain(graph)
