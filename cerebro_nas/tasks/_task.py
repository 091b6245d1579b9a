"""What the tasks share: the order that AutoKeras gives their arguments of `fit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from cerebro_nas.tasks._auto_model import AutoModel


class Task(AutoModel):
    """An `AutoModel` whose graph is given."""

    def fit(  # type: ignore[override]  # as in AutoKeras, `batch_size` has no place among the positional arguments
        self,
        x: Any = None,
        y: Any = None,
        epochs: int | None = None,
        callbacks: Sequence[Any] | None = None,
        validation_split: float = 0.2,
        validation_data: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Search for the best model; see `AutoModel.fit`.

        Args:
            x: images, of shape (n, height, width) or (n, height, width, channels); texts, of shape (n,); rows of a
                table, of shape (n, columns), or a pandas frame.
            y: labels.
            epochs: see `AutoModel.fit`.
            callbacks: see `AutoModel.fit`.
            validation_split: see `AutoModel.fit`.
            validation_data: see `AutoModel.fit`.
            **kwargs: `batch_size`, `verbose` and others of `AutoModel.fit`.
        """
        self._check_rows(x)
        return super().fit(
            x=x,
            y=y,
            epochs=epochs,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            **kwargs,
        )

    def _check_rows(self, x: Any) -> None:
        """Refuse rows that the task cannot take, before anything else is looked at."""
