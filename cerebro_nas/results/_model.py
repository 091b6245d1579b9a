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
from cerebro_nas.results._labels import to_labels
from cerebro_nas.results._unusable import IN_ARRAYS
from cerebro_nas.results._unusable import Unusable
from cerebro_nas.results._unusable import no_rows

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
        source: where its states are, how rows become its inputs and its outputs labels.
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
        self.source = source
        self._recorded_epoch = recorded_epoch
        self._found: Best | None = None
        self._objective = objective

    @property
    def best_epoch(self) -> int:
        """Epoch (from 0) that the weights are of.

        Raises:
            StoreError: no epoch of the trial was stored.
            CorruptStateError: the mark of the best one is damaged.
        """
        return self.best().epoch

    @property
    def generation(self) -> int:
        """Number of train units in the weights; raises what `best_epoch` does."""
        return self.best().generation

    def best(self) -> Best:
        """Say which of its states is the best one; raises what `best_epoch` does."""
        # Once: the trial has ended, and a later search of the name may put other files there.
        if self._found is not None:
            return self._found
        best = self._found = self.source.best(self.trial)
        if best is None:
            raise StoreError(
                f"Trial {self.trial!r} has no weights in {self.source.states_url}: its workers were lost before the "
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

    def keras(self) -> Model:
        """Load the compiled Keras model; each call gives a copy of its own.

        Raises:
            StoreError: the state is not in the store any more.
            CorruptStateError: the state is damaged.
        """
        return self.source.load(self.trial, self.best().name)

    def export(self, path: str | os.PathLike[str] | None = None) -> Model:
        """Give the model with its preprocessing inside, and save it: see `HyperHyperModel.export_model`."""
        return save_verified(
            self.keras(), path, inputs=self.source.inputs, outputs=self.source.outputs, about=self._about()
        )

    def _about(self) -> dict[str, Any]:
        epoch = self.best_epoch
        metrics = {name: values[epoch] for name, values in self.history.items() if epoch < len(values)}
        trial = {"trial": self.trial, "epoch": epoch, "objective": self._objective}
        trial.update(value=metrics.get(self._objective), metrics=metrics, hyperparameters=self.hyperparameters)
        return {"trial": trial, "data": {"fingerprint": self.source.fingerprint}}

    def get_history(self) -> dict[str, list[float]]:
        """Return `history`."""
        return self.history

    def transform(self, df: DataFrame) -> DataFrame:
        """Predict on Spark.

        Args:
            df: has the feature columns.

        Returns:
            `df` with, for each label, `<label>__output` (array of float: probabilities, or the numbers predicted) and
            `<label>__prediction` (the label itself). Rows that training would have refused fail when they are read.

        Raises:
            ConfigError: feature columns are missing, or a column that is added is there already.
        """
        return _inference.transform(df, self.source, self.trial, self.best().name)

    def predict(self, x: Any, batch_size: int = 32) -> Any:
        """Predict labels: see `HyperHyperModel.predict`."""
        if _is_dataframe(x):
            return self.transform(x)
        unusable = Unusable()
        inputs = model_inputs(x, self.source, unusable)
        unusable.refuse("arrays", IN_ARRAYS)
        raw = _inference.raw_outputs(self._loaded(), inputs, batch_size)
        labels = [output.decode(values) for output, values in zip(self.source.outputs, raw, strict=True)]
        return labels if len(labels) > 1 else labels[0]

    def evaluate(self, x: Any, y: Any = None, batch_size: int = 32) -> dict[str, float]:
        """Loss and metrics by name, rows counting alike: see `HyperHyperModel.evaluate`.

        Raises:
            ConfigError: `y` is missing for arrays, or given for a DataFrame.
            DataError: there are no rows, or some cannot be used: null, NaN, infinite.
        """
        if _is_dataframe(x) != (y is None):
            raise ConfigError(
                "`y` must be given with arrays, and left out with a Spark DataFrame, which holds the labels. "
                f"Received: x of type {type(x).__name__}, y of type {type(y).__name__}. Change one of them."
            )
        if _is_dataframe(x):
            return _inference.evaluate(x, self.source, self.trial, self.best().name)
        given, unusable = per_head(y, len(self.source.outputs), "y"), Unusable()
        inputs = model_inputs(x, self.source, unusable)
        if not unusable.rows:
            raise no_rows("arrays")
        heads = zip(self.source.outputs, given, strict=True)
        labels = [to_labels(values, output, unusable.of(output.column)) for output, values in heads]
        unusable.refuse("arrays", IN_ARRAYS)
        return _inference.evaluate_arrays(self._loaded(), self.source, inputs, labels, batch_size)

    def _loaded(self) -> Model:
        return _inference.load_cached(self.source, self.trial, self.best().name)

    def __repr__(self) -> str:
        return f"TrialModel(trial={self.trial!r}, best_epoch={self._recorded_epoch})"


def _is_dataframe(x: Any) -> bool:
    # By method, not by class: Spark Connect has a DataFrame of its own.
    return hasattr(x, "mapInArrow")
