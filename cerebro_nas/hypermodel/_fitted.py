"""What can be done with a search that has ended, or was interrupted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import ConfigError

if TYPE_CHECKING:
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

    @property
    def has_result(self) -> bool:
        """Whether there is a `result`."""
        return self._result is not None

    def _by_input(self, x: Any) -> Any:
        """A list in the order of the inputs of what may be a dict by their names."""
        return x

    def _by_head(self, y: Any) -> Any:
        """A list in the order of the heads of what may be a dict by their names."""
        return y

    def _keep(self, result: ModelSelectionResult) -> None:
        self._result = result

    def predict(self, x: Any, batch_size: int = 32) -> Any:
        """Predict with the best model.

        Args:
            x: a Spark DataFrame with the feature columns, or an array of shape (n, ...), or a pandas frame (for
                several inputs a list of them, or a dict by input's name).
            batch_size: rows per step, for arrays.

        Returns:
            For a DataFrame what `ModelSelectionResult.transform` returns; for arrays the predicted labels, an array
            of n (a list of them for several heads); of `multi_label=True` rows of zeros and ones.
        """
        return self.result.best_model.predict(self._by_input(x), batch_size)

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
        found = self.result.best_model.evaluate(self._by_input(x), self._by_head(y), batch_size)
        return found if return_dict else list(found.values())

    def export_model(self, path: str | os.PathLike[str] | None = None) -> keras.Model:
        """Return the best model as a compiled Keras model, with its preprocessing inside.

        Text inputs take the texts themselves (strings of shape (n,) or (n, 1)). An input whose columns hold categories
        becomes one input per column, named as the column: strings for categories, numbers for the others. Everything
        else (numbers, tensors, pixels of pictures) goes in as an array per input.

        Args:
            path: if given, the model is saved there, loaded again, and compared with the original on rows of known
                and unknown values before this returns. The suffix says the format: `.keras`; none: a folder with a
                SavedModel of TensorFlow; `.onnx`: ONNX, which takes encoded numbers in place of strings (extra
                `onnx`). A description is written beside it, `<path>.json` (in a folder: `export.json`): versions,
                inputs, outputs with their classes, trial and metrics, fingerprint of the data, sha256 of the files.

        Raises:
            ConfigError: it is no path, has another suffix, or names something that is no earlier export.
            StoreError: it cannot be written, or the model that was loaded again predicts something else.
        """
        if path is not None and not isinstance(path, (str, os.PathLike)):
            raise ConfigError(
                f"Argument `path` should be a path, or None. Received: path={path!r} (of type {type(path).__name__}). "
                "Pass for example 'best.keras'."
            )
        return self.result.best_model.export(path)
