"""Early stopping of a candidate, as the user asked for it with `keras.callbacks.EarlyStopping`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners import make_objective


@dataclass(frozen=True)
class StoppingRule:
    """When a candidate stops improving.

    Attributes:
        monitor: metric watched, e.g. `"val_loss"`.
        direction: `"min"` or `"max"`.
        patience: epochs without improvement that are borne.
        min_delta: smallest change that counts as an improvement.
        baseline: value that the metric has to beat to count as an improvement, or None.
        start_from_epoch: epochs before watching begins.
    """

    monitor: str = "val_loss"
    direction: str = "min"
    patience: int = 0
    min_delta: float = 0.0
    baseline: float | None = None
    start_from_epoch: int = 0

    def should_stop(self, history: Sequence[dict[str, float]]) -> bool:
        """Whether a candidate with these metrics, one dict an epoch, should stop now."""
        best: float | None = None
        waited, stop = 0, False
        for epoch, metrics in enumerate(history):
            value = metrics.get(self.monitor)
            if value is None or epoch < self.start_from_epoch:
                continue
            waited += 1
            if best is None or self._improves(value, best):
                best, stop = value, False
                # As in Keras: an improvement that does not beat the baseline does not end the wait, nor the training.
                if self.baseline is None or self._improves(value, self.baseline):
                    waited = 0
            else:
                stop = waited >= self.patience and epoch > 0
        return stop

    def _improves(self, value: float, best: float) -> bool:
        if self.direction == "max":
            return value - self.min_delta > best
        return value + self.min_delta < best


def split_callbacks(
    callbacks: Sequence[Any] | None, patience: int | None = None
) -> tuple[list[StoppingRule], list[str]]:
    """Read the callbacks a search understands: stopping rules, and log directories for TensorBoard.

    Args:
        callbacks: what `fit` was given.
        patience: epochs without improvement of `val_loss` that are borne where no callback says so; None: any number.

    Raises:
        ImportError: TensorBoard is asked for and not installed.
        ConfigError: a callback of another kind is given. Candidates train in pieces on many workers, where a Keras
            callback with code of its own would see neither whole epochs nor a model that stays.
    """
    by_default = [] if patience is None else [StoppingRule(patience=patience)]
    if not callbacks:
        return by_default, []
    if not isinstance(callbacks, (list, tuple)):
        raise ConfigError(
            f"`callbacks` must be a list. Received: callbacks={callbacks!r} (of type {type(callbacks).__name__}). "
            "Put it into a list."
        )
    import keras

    rules: list[StoppingRule] = []
    logdirs: list[str] = []
    for callback in callbacks:
        # A class of the user's own may do anything in its methods, none of which would be called.
        if type(callback) is keras.callbacks.EarlyStopping:
            rules.append(_rule(callback))
        elif type(callback) is keras.callbacks.TensorBoard:
            _need_tensorboard()
            logdirs.append(str(callback.log_dir))
        else:
            raise ConfigError(
                "`callbacks` may hold `keras.callbacks.EarlyStopping` and `keras.callbacks.TensorBoard`, and none of "
                "their subclasses: candidates hop between workers, so other callbacks cannot follow them. "
                f"Received: callbacks={[type(c).__name__ for c in callbacks]}. Remove {type(callback).__name__}."
            )
    return rules or by_default, logdirs


def _need_tensorboard() -> None:
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError(
            "`keras.callbacks.TensorBoard` needs the package 'tensorboard', which is not installed. "
            "Install it in the checkout of cerebro_nas: pip install -e '.[tensorboard]'"
        )


def _rule(callback: Any) -> StoppingRule:
    try:
        direction = callback.mode if callback.mode in ("min", "max") else make_objective(callback.monitor).direction
        return StoppingRule(
            monitor=callback.monitor,
            direction=direction,
            patience=int(callback.patience),
            min_delta=abs(float(callback.min_delta)),
            baseline=None if callback.baseline is None else float(callback.baseline),
            start_from_epoch=int(callback.start_from_epoch),
        )
    except (TypeError, ValueError) as error:
        shown = {name: getattr(callback, name) for name in ("monitor", "mode", "patience", "min_delta", "baseline")}
        raise ConfigError(
            "`callbacks` may hold `keras.callbacks.EarlyStopping` with the name of a metric and numbers; a metric "
            'whose direction is not known needs `mode="min"` or `mode="max"`. '
            f"Received: EarlyStopping with {shown} ({error})."
        ) from error
