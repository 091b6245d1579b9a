"""One trained candidate."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import StoreError
from cerebro_nas.results import _inference
from cerebro_nas.results._arrays import model_inputs
from cerebro_nas.results._arrays import per_head
from cerebro_nas.results._export import save_verified

if TYPE_CHECKING:
    import os

    from keras import Model
    from pyspark.sql import DataFrame

    from cerebro_nas.results._bundle import ModelSource
    from cerebro_nas.storage import Best
    from cerebro_nas.tracking import TrialRecord


class TrialModel:
    """A trial with the weights of its best epoch. Nothing is loaded until it is used.

    Attributes:
        trial: its identifier.
        hyperparameters: active hyperparameters.
        history: metrics per epoch by name, as Keras' `History.history`.
    """

    def __init__(
        self,
        record: TrialRecord,
        source: ModelSource,
        *,
        recorded_epoch: int,
        history: dict[str, list[float]],
        objective: str = "",
    ) -> None:
        self.trial = record.trial
        self.hyperparameters = dict(record.hyperparameters)
        self.history = history
        self._recorded_epoch = recorded_epoch
        self._found: Best | None = None
        self._source = source
        self._objective = objective

    @property
    def best_epoch(self) -> int:
        """Epoch (from 0) that the weights are of.

        Raises:
            StoreError: no epoch of the trial was stored.
            CorruptStateError: the mark of the best one is damaged.
        """
        return self._best().epoch

    @property
    def generation(self) -> int:
        """Number of train units in the weights; raises what `best_epoch` does."""
        return self._best().generation

    def keras(self) -> Model:
        """Load the compiled Keras model; each call gives a copy of its own.

        Raises:
            StoreError: the state is not in the store any more.
            CorruptStateError: the state is damaged.
        """
        return self._source.load(self.trial, self._best().name)

    def export(self, path: str | os.PathLike[str] | None = None) -> Model:
        """Give the model with its preprocessing inside, and save it: see `HyperHyperModel.export_model`."""
        return save_verified(
            self.keras(), path, inputs=self._source.inputs, outputs=self._source.outputs, about=self._about()
        )

    def _about(self) -> dict[str, Any]:
        epoch = self.best_epoch
        metrics = {name: values[epoch] for name, values in self.history.items() if epoch < len(values)}
        trial = {"trial": self.trial, "epoch": epoch, "objective": self._objective}
        trial.update(value=metrics.get(self._objective), metrics=metrics, hyperparameters=self.hyperparameters)
        return {"trial": trial, "data": {"fingerprint": self._source.fingerprint}}

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
        return _inference.transform(df, self._source, self.trial, self._best().name)

    def predict(self, x: Any, batch_size: int = 32) -> Any:
        """Predict labels: see `HyperHyperModel.predict`."""
        if _is_dataframe(x):
            return self.transform(x)
        raw = _inference.raw_outputs(self._loaded(), model_inputs(x, self._source), batch_size)
        labels = [output.decode(values) for output, values in zip(self._source.outputs, raw, strict=True)]
        return labels if len(labels) > 1 else labels[0]

    def evaluate(self, x: Any, y: Any = None, batch_size: int = 32) -> dict[str, float]:
        """Loss and metrics by name, rows counting alike: see `HyperHyperModel.evaluate`.

        Raises:
            ConfigError: `y` is missing for arrays, or given for a DataFrame.
        """
        if _is_dataframe(x) != (y is None):
            raise ConfigError(
                "`y` must be given with arrays, and left out with a Spark DataFrame, which holds the labels. "
                f"Received: x of type {type(x).__name__}, y of type {type(y).__name__}. Change one of them."
            )
        if _is_dataframe(x):
            return _inference.evaluate(x, self._source, self.trial, self._best().name)
        labels = per_head(y, len(self._source.outputs), "y")
        return _inference.evaluate_arrays(
            self._loaded(), self._source, model_inputs(x, self._source), labels, batch_size
        )

    def _loaded(self) -> Model:
        return _inference.load_cached(self._source, self.trial, self._best().name)

    def _best(self) -> Best:
        # Once: the trial has ended, and a later search of the name may put other files there.
        if self._found is not None:
            return self._found
        best = self._found = self._source.best(self.trial)
        if best is None:
            raise StoreError(
                f"Trial {self.trial!r} has no weights in {self._source.states_url}: its workers were lost before the "
                "state of an epoch was stored, or its files were removed. Take another trial of the leaderboard, or "
                "search again."
            )
        if best.epoch != self._recorded_epoch:
            warnings.warn(
                f"Trial {self.trial!r} was best after epoch {self._recorded_epoch}, whose weights were not stored: its "
                f"worker was lost before. Those of epoch {best.epoch} are used, the best of those that were stored.",
                stacklevel=3,
            )
        return best

    def __repr__(self) -> str:
        return f"TrialModel(trial={self.trial!r}, best_epoch={self._recorded_epoch})"


def _is_dataframe(x: Any) -> bool:
    # By method, not by class: Spark Connect has a DataFrame of its own.
    return hasattr(x, "mapInArrow")
