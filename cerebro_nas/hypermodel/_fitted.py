"""What can be done with a search that has ended, or was interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import ConfigError

if TYPE_CHECKING:
    import os

    import keras

    from cerebro_nas.results import ModelSelectionResult


class Fitted:
    """The best model of a search, as AutoKeras gives it."""

    _result: ModelSelectionResult | None = None

    @property
    def result(self) -> ModelSelectionResult:
        """The result of the last search; of one that was interrupted, what it had by then."""
        if self._result is None:
            raise ConfigError("There is no model yet. Call `fit` first.")
        return self._result

    def _keep(self, result: ModelSelectionResult) -> None:
        self._result = result

    def predict(self, x: Any, batch_size: int = 32) -> Any:
        """Predict with the best model.

        Args:
            x: a Spark DataFrame with the feature columns, or an array of shape (n, ...) (a list of them for several
                inputs).
            batch_size: rows per step, for arrays.

        Returns:
            For a DataFrame what `ModelSelectionResult.transform` returns; for arrays the predicted labels, an array
            of n (a list of them for several heads).
        """
        return self.result.best_model.predict(x, batch_size)

    def evaluate(self, x: Any, y: Any = None, batch_size: int = 32, return_dict: bool = False) -> Any:
        """Evaluate the best model.

        Args:
            x: a Spark DataFrame with feature and label columns (then leave `y` out), or an array (or a list).
            y: labels as they stand in the data, an array of n (a list for several heads).
            batch_size: rows per step, for arrays.
            return_dict: return a dict by name.

        Returns:
            `[loss, metric, ...]` as AutoKeras does, or a dict.
        """
        found = self.result.best_model.evaluate(x, y, batch_size)
        return found if return_dict else list(found.values())

    def export_model(self, path: str | os.PathLike[str] | None = None) -> keras.Model:
        """Return the best model as a compiled Keras model.

        Args:
            path: if given, the model is saved there too (it must end in `.keras`), loaded again, and compared with
                the original on random rows before this returns.

        Raises:
            StoreError: the model that was loaded again predicts something else.
        """
        model = self.result.keras()
        if path is not None:
            from cerebro_nas.results import save_verified

            save_verified(model, path)
        return model
