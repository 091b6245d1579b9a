"""The fitted model."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from pyspark.ml import Model
from pyspark.ml.util import MLReadable
from pyspark.ml.util import MLWritable

from cerebro_nas.errors import ConfigError
from cerebro_nas.ml._columns import OUTPUT
from cerebro_nas.ml._columns import Names
from cerebro_nas.ml._columns import add_columns
from cerebro_nas.ml._columns import check_names
from cerebro_nas.ml._dataset import check_dataset
from cerebro_nas.ml._packed import Packed
from cerebro_nas.ml._packed import unpack
from cerebro_nas.ml._params import ColumnParams
from cerebro_nas.ml._persist import Files
from cerebro_nas.ml._persist import PlainReader
from cerebro_nas.ml._persist import PlainWriter

if TYPE_CHECKING:
    import keras
    from pyspark.sql import DataFrame

    from cerebro_nas.results import ModelSelectionResult


class HyperHyperEstimatorModel(Model, ColumnParams, MLReadable["HyperHyperEstimatorModel"], MLWritable):
    """The best model of a search, as `HyperHyperEstimator.fit` gives it.

    It holds the model itself, in memory, and needs nothing of the search's files. `transform` adds

    * `predictionCol`, a double: the number predicted, the label where labels are numbers, or, where they are strings,
      its position in `labels` (with the labels in the column's metadata, so that `IndexToString` needs no list); of
      several numbers to regress on, a vector; of several labels at once, a vector of zeros and ones.
    * for classes `probabilityCol`, a vector in the order of `labels`, and `rawPredictionCol`, its natural logarithm.
    * for strings `predictedLabelCol`, the label itself.
    * where the label column is there and holds no numbers, `labelIndexCol`: a double that `predictionCol` can be
      compared with, which is what Spark's evaluators take as their `labelCol`. A label that training has not seen is
      one beyond the last.

    An empty name leaves a column out.
    """

    def __init__(self, packed: Packed | None = None, summary: ModelSelectionResult | None = None) -> None:
        super().__init__()
        self._kept = packed
        self._summary = summary

    @property
    def labels(self) -> list[Any]:
        """The classes, in the order of the probabilities; of `multi_label=True` positions; empty for a regression."""
        return list(self._packed.output.classes)

    @property
    def numClasses(self) -> int:
        """Number of classes; 0 for a regression."""
        return len(self._packed.output.classes)

    @property
    def trial(self) -> str:
        """Identifier of the trial in the search."""
        return self._packed.trial

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Values that the search found best."""
        return dict(self._packed.hyperparameters)

    @property
    def history(self) -> dict[str, list[Any]]:
        """Metrics of the trial per epoch, by name."""
        return dict(self._packed.history)

    @property
    def bestEpoch(self) -> int:
        """Epoch, from 0, that the weights are of."""
        return self._packed.epoch

    @property
    def hasSummary(self) -> bool:
        """Whether the result of the search is at hand: in the process that fitted the model."""
        return self._summary is not None

    @property
    def summary(self) -> ModelSelectionResult:
        """The result of the search: leaderboard, schedule, why it ended.

        Its other models are there only where the search was given a `projectName`.

        Raises:
            ConfigError: the model was loaded.
        """
        if self._summary is None:
            raise ConfigError("There is no summary: it is not saved with a model. Look at it after `fit`.")
        return self._summary

    def keras(self) -> keras.Model:
        """The compiled Keras model; each call gives a copy of its own."""
        return self._packed.source.load(self.trial, "")

    def write(self) -> PlainWriter:
        """A writer: `model.write().overwrite().save(path)`."""
        return PlainWriter(self, lambda: ({}, self._packed.files()))

    @classmethod
    def read(cls) -> PlainReader[HyperHyperEstimatorModel]:
        """A reader of what `write` wrote."""
        return PlainReader(cls, _restore)

    @property
    def _packed(self) -> Packed:
        if self._kept is None:
            raise ConfigError(
                "There is no model yet. Call `fit` of a `HyperHyperEstimator`, or `HyperHyperEstimatorModel.load`."
            )
        return self._kept

    def _transform(self, dataset: DataFrame) -> DataFrame:
        packed, names = self._packed, self._names()
        check_dataset(dataset)
        check_names(dataset, names.added(dataset, packed.output))
        found = packed.model(self._feature_names(), OUTPUT).transform(dataset)
        return add_columns(dataset, found, packed.output, names)

    def _names(self) -> Names:
        return Names(
            prediction=self.getPredictionCol(),
            probability=self.getProbabilityCol(),
            raw_prediction=self.getRawPredictionCol(),
            predicted_label=self.getPredictedLabelCol(),
            label=self.getLabelCol(),
            label_index=self.getLabelIndexCol(),
        )

    def _feature_names(self) -> list[str]:
        """Feature columns in the order of training, whatever they are called here."""
        given = self.getFeaturesCols()
        names = [name for group in given for name in ([group] if isinstance(group, str) else group)]
        wanted = [spec.name for group in self._packed.source.inputs for spec in group]
        if len(names) != len(wanted):
            raise ConfigError(
                f"`featuresCols` must name {len(wanted)} column(s), in the order of training ({wanted}). "
                f"Received: featuresCols={given}. Name as many."
            )
        return names


def _restore(model: HyperHyperEstimatorModel, plain: dict[str, Any], files: Files) -> None:
    model._kept = unpack(files)
