"""The Params of estimator and model, under the names that Spark ML uses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

from pyspark.ml.param import Param
from pyspark.ml.param import Params
from pyspark.ml.param import TypeConverters
from pyspark.ml.param.shared import HasFeaturesCol
from pyspark.ml.param.shared import HasLabelCol
from pyspark.ml.param.shared import HasPredictionCol
from pyspark.ml.param.shared import HasProbabilityCol
from pyspark.ml.param.shared import HasRawPredictionCol
from pyspark.ml.param.shared import HasSeed
from pyspark.ml.param.shared import HasValidationIndicatorCol
from pyspark.ml.param.shared import HasWeightCol

C = TypeVar("C", bound="ColumnParams")


def _columns(value: Any) -> list[str] | list[list[str]]:
    groups = list(value) if isinstance(value, (list, tuple)) else []
    if groups and all(isinstance(name, str) and name for name in groups):
        return groups
    lists = [list(group) for group in groups if isinstance(group, (list, tuple))]
    if groups and len(lists) == len(groups) and all(g and all(isinstance(n, str) and n for n in g) for g in lists):
        return lists
    raise TypeError(f"It must be a list of columns, or one list of columns for each input. Received: {value!r}.")


def _plain_dict(value: Any) -> dict[str, Any]:
    try:
        if not isinstance(value, Mapping):
            raise TypeError("it is none")
        plain: dict[str, Any] = json.loads(json.dumps(dict(value)))
    except (TypeError, ValueError) as error:
        raise TypeError(f"It must be a dict of values that JSON can hold ({error}). Received: {value!r}.") from error
    return plain


def _hyperparameters(value: Any) -> dict[str, Any]:
    # Those of KerasTuner, without importing it.
    return _plain_dict(value.get_config() if hasattr(value, "get_config") else value)


def _param(name: str, doc: str, converter: Any) -> Param[Any]:
    return Param(Params._dummy(), name, doc, typeConverter=converter)


class ColumnParams(HasFeaturesCol, HasLabelCol, HasPredictionCol, HasProbabilityCol, HasRawPredictionCol):
    """The columns that a model reads and adds."""

    featuresCols: Param[Any] = _param(
        "featuresCols", "feature columns, or one list of them for each input; they win over featuresCol", _columns
    )
    predictedLabelCol: Param[str] = _param(
        "predictedLabelCol",
        "column for the predicted label itself, where labels are strings; '' for none",
        TypeConverters.toString,
    )
    labelIndexCol: Param[str] = _param(
        "labelIndexCol",
        "column for the label's position in `labels`, which evaluators read, where labels are no numbers; '' for none",
        TypeConverters.toString,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(predictedLabelCol="predictedLabel", labelIndexCol="labelIndex")

    def setFeaturesCol(self: C, value: str) -> C:
        return self._set(featuresCol=value)

    def setFeaturesCols(self: C, value: Sequence[str] | Sequence[Sequence[str]]) -> C:
        return self._set(featuresCols=value)

    def getFeaturesCols(self) -> list[str] | list[list[str]]:
        """Feature columns as they are used: `featuresCols`, or `featuresCol` alone."""
        if self.isDefined(self.featuresCols):
            return _columns(self.getOrDefault(self.featuresCols))
        return [self.getFeaturesCol()]

    def setLabelCol(self: C, value: str) -> C:
        return self._set(labelCol=value)

    def setPredictionCol(self: C, value: str) -> C:
        return self._set(predictionCol=value)

    def setProbabilityCol(self: C, value: str) -> C:
        return self._set(probabilityCol=value)

    def setRawPredictionCol(self: C, value: str) -> C:
        return self._set(rawPredictionCol=value)

    def setPredictedLabelCol(self: C, value: str) -> C:
        return self._set(predictedLabelCol=value)

    def getPredictedLabelCol(self) -> str:
        return self.getOrDefault(self.predictedLabelCol)

    def setLabelIndexCol(self: C, value: str) -> C:
        return self._set(labelIndexCol=value)

    def getLabelIndexCol(self) -> str:
        return self.getOrDefault(self.labelIndexCol)


S = TypeVar("S", bound="SearchParams")


class SearchParams(ColumnParams, HasWeightCol, HasValidationIndicatorCol, HasSeed):
    """What a search is told. A Param that is not set has the default of `HyperHyperModel`."""

    task: Param[str] = _param(
        "task",
        "name of AutoKeras' class for the task, such as 'StructuredDataClassifier', where no graph is given",
        TypeConverters.toString,
    )
    tuner: Param[str] = _param("tuner", "name of the search algorithm", TypeConverters.toString)
    tunerOptions: Param[Any] = _param(
        "tunerOptions", "further arguments of `HyperHyperModel.tuner_bind`, such as {'time_budget': '1h'}", _plain_dict
    )
    hyperparameters: Param[Any] = _param(
        "hyperparameters", "entries that replace those of the graph: a `keras_tuner.HyperParameters`", _hyperparameters
    )
    objective: Param[str] = _param("objective", "metric to optimise, 'val_accuracy' say", TypeConverters.toString)
    maxTrials: Param[int] = _param("maxTrials", "trials at most", TypeConverters.toInt)
    epochs: Param[int] = _param("epochs", "epochs per trial at most", TypeConverters.toInt)
    batchSize: Param[int] = _param("batchSize", "rows per training step", TypeConverters.toInt)
    inputShape: Param[list[int]] = _param(
        "inputShape", "shape of one row of a single feature column", TypeConverters.toListInt
    )
    validationFraction: Param[float] = _param(
        "validationFraction",
        "share of the rows that candidates are validated on, where no validationIndicatorCol marks them",
        TypeConverters.toFloat,
    )
    numWorkers: Param[int] = _param("numWorkers", "workers; all task slots if not set", TypeConverters.toInt)
    backendOptions: Param[Any] = _param(
        "backendOptions", "further arguments of `SparkBackend`, such as {'gpus_per_worker': 1}", _plain_dict
    )
    store: Param[str] = _param(
        "store",
        "directory that driver, executors and workers reach under the same path; on one machine, a temporary one",
        TypeConverters.toString,
    )
    projectName: Param[str] = _param(
        "projectName",
        "name under which the search's files stay in the store, and an interrupted fit goes on; without it they are "
        "removed at the end",
        TypeConverters.toString,
    )
    verbose: Param[int] = _param("verbose", "0 silent, 1 live, 2 plain lines", TypeConverters.toInt)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # HasSeed's own default differs from process to process.
        self._setDefault(tuner="greedy", batchSize=32, validationFraction=0.2, verbose=0, seed=0)

    def setWeightCol(self: S, value: str) -> S:
        return self._set(weightCol=value)

    def setValidationIndicatorCol(self: S, value: str) -> S:
        return self._set(validationIndicatorCol=value)

    def setValidationFraction(self: S, value: float) -> S:
        return self._set(validationFraction=value)

    def getValidationFraction(self) -> float:
        return self.getOrDefault(self.validationFraction)

    def setSeed(self: S, value: int) -> S:
        return self._set(seed=value)

    def setTask(self: S, value: str) -> S:
        return self._set(task=value)

    def getTask(self) -> str:
        return self.getOrDefault(self.task)

    def setTuner(self: S, value: str) -> S:
        return self._set(tuner=value)

    def getTuner(self) -> str:
        return self.getOrDefault(self.tuner)

    def setTunerOptions(self: S, value: Mapping[str, Any]) -> S:
        return self._set(tunerOptions=value)

    def getTunerOptions(self) -> dict[str, Any]:
        return _plain_dict(self.getOrDefault(self.tunerOptions))

    def setHyperparameters(self: S, value: Any) -> S:
        return self._set(hyperparameters=value)

    def getHyperparameters(self) -> dict[str, Any]:
        """The entries as `keras_tuner.HyperParameters.from_config` takes them."""
        return _plain_dict(self.getOrDefault(self.hyperparameters))

    def setObjective(self: S, value: str) -> S:
        return self._set(objective=value)

    def getObjective(self) -> str:
        return self.getOrDefault(self.objective)

    def setMaxTrials(self: S, value: int) -> S:
        return self._set(maxTrials=value)

    def getMaxTrials(self) -> int:
        return self.getOrDefault(self.maxTrials)

    def setEpochs(self: S, value: int) -> S:
        return self._set(epochs=value)

    def getEpochs(self) -> int:
        return self.getOrDefault(self.epochs)

    def setBatchSize(self: S, value: int) -> S:
        return self._set(batchSize=value)

    def getBatchSize(self) -> int:
        return self.getOrDefault(self.batchSize)

    def setInputShape(self: S, value: Sequence[int]) -> S:
        return self._set(inputShape=value)

    def getInputShape(self) -> list[int]:
        return self.getOrDefault(self.inputShape)

    def setNumWorkers(self: S, value: int) -> S:
        return self._set(numWorkers=value)

    def getNumWorkers(self) -> int:
        return self.getOrDefault(self.numWorkers)

    def setBackendOptions(self: S, value: Mapping[str, Any]) -> S:
        return self._set(backendOptions=value)

    def getBackendOptions(self) -> dict[str, Any]:
        return _plain_dict(self.getOrDefault(self.backendOptions))

    def setStore(self: S, value: str) -> S:
        return self._set(store=value)

    def getStore(self) -> str:
        return self.getOrDefault(self.store)

    def setProjectName(self: S, value: str) -> S:
        return self._set(projectName=value)

    def getProjectName(self) -> str:
        return self.getOrDefault(self.projectName)

    def setVerbose(self: S, value: int) -> S:
        return self._set(verbose=value)

    def getVerbose(self) -> int:
        return self.getOrDefault(self.verbose)
