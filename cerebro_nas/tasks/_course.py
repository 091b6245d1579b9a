"""How long trials train, and whether the best configuration is trained anew: AutoKeras' rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from cerebro_nas import search

# AutoKeras' own, wherever the user has given none.
_PATIENCE, _MIN_DELTA = 10, 1e-4


@dataclass(frozen=True)
class Course:
    """What the arguments of `fit` come to.

    Attributes:
        epochs: epochs of a trial in the search, None for as many as improve it.
        callbacks: those of the search.
        refits: whether the best configuration is trained anew.
        all_rows: on the validation rows too.
        refit_epochs: for how long; None: as long as the best trial was trained.
        logdirs: directories for TensorBoard of that training.
    """

    epochs: int | None
    callbacks: tuple[Any, ...]
    refits: bool
    all_rows: bool
    refit_epochs: int | None
    logdirs: tuple[str, ...] = ()

    @classmethod
    def of(cls, epochs: int | None, callbacks: Sequence[Any] | None, all_rows: bool, max_epochs: int | None) -> Course:
        """Follow AutoKeras' rules.

        Where the user gives no `EarlyStopping`, trials of the search end after 10 epochs without improvement. If
        validation rows were split off, or if a number of epochs was given that trials may so have ended before, the
        best configuration is trained anew, without early stopping.

        Args:
            epochs: what `fit` was given, `callbacks` likewise.
            callbacks: see there.
            all_rows: whether validation rows were split off the training rows.
            max_epochs: epochs of a trial in the search, where the tuner was given them.

        Raises:
            ConfigError: the callbacks are no list, or others than a search understands.
        """
        # Now, as a message should name those that the user gave and no other.
        search.split_callbacks(callbacks)
        given = tuple(callbacks or ())
        stops = any(isinstance(callback, keras.callbacks.EarlyStopping) for callback in given)
        added = () if stops else (keras.callbacks.EarlyStopping(patience=_PATIENCE, min_delta=_MIN_DELTA),)
        boards = [callback for callback in given if isinstance(callback, keras.callbacks.TensorBoard)]
        return cls(
            epochs=epochs if max_epochs is None else max_epochs,
            callbacks=(*given, *added),
            refits=all_rows or (epochs is not None and not stops),
            all_rows=all_rows,
            refit_epochs=epochs,
            logdirs=tuple(f"{board.log_dir}/refit" for board in boards),
        )


def history_of(columns: dict[str, list[Any]], leave_out: Sequence[str] = ()) -> Any:
    """A Keras `History` with these metrics, by name, one value an epoch."""
    history = keras.callbacks.History()
    history.history = {name: list(values) for name, values in columns.items() if name not in leave_out}
    count = max((len(values) for values in history.history.values()), default=0)
    history.epoch = list(range(count))
    history.set_params({"epochs": count})
    return history
