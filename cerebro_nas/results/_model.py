"""One trained candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cerebro_nas.results import _inference

if TYPE_CHECKING:
    import keras
    from pyspark.sql import DataFrame

    from cerebro_nas.results._bundle import ModelSource
    from cerebro_nas.tracking import TrialRecord


class TrialModel:
    """A trial with the weights of its best epoch. Nothing is loaded until it is used.

    Attributes:
        trial: its identifier.
        hyperparameters: active hyperparameters.
        history: metrics per epoch by name, as Keras' `History.history`.
        best_epoch: epoch (from 0) that the weights are of.
    """

    def __init__(
        self, record: TrialRecord, source: ModelSource, *, best_epoch: int, history: dict[str, list[float]]
    ) -> None:
        self.trial = record.trial
        self.hyperparameters = dict(record.hyperparameters)
        self.history = history
        self.best_epoch = best_epoch
        self._source = source

    @property
    def generation(self) -> int:
        """Number of train units in the weights."""
        return (self.best_epoch + 1) * self._source.train_shards

    def keras(self) -> keras.Model:
        """Load the compiled Keras model; each call gives a copy of its own.

        Raises:
            StoreError: the state is not in the store any more.
            CorruptStateError: the state is damaged.
        """
        return self._source.load(self.trial, self.generation)

    def get_history(self) -> dict[str, list[float]]:
        """Return `history`."""
        return self.history

    def transform(self, df: DataFrame) -> DataFrame:
        """Predict on Spark.

        Args:
            df: has the feature columns.

        Returns:
            `df` with, for each label, `<label>__output` (array of float: probabilities, or the numbers predicted) and
            `<label>__prediction` (the label itself).
        """
        return _inference.transform(df, self._source, self.trial, self.generation)

    def evaluate(self, df: DataFrame) -> dict[str, float]:
        """Evaluate on Spark: loss and metrics, each the mean over batches weighted by rows.

        Args:
            df: has the feature and label columns.
        """
        return _inference.evaluate(df, self._source, self.trial, self.generation)

    def __repr__(self) -> str:
        return f"TrialModel(trial={self.trial!r}, best_epoch={self.best_epoch})"
