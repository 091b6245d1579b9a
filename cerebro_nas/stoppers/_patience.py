"""Rules that look at the trial alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from cerebro_nas.stoppers._check import check_count
from cerebro_nas.stoppers._check import check_finite
from cerebro_nas.stoppers._check import check_not_negative
from cerebro_nas.stoppers._curve import Curve
from cerebro_nas.stoppers._curve import Stopper
from cerebro_nas.stoppers._curve import in_epochs


@dataclass(frozen=True)
class PatienceStopper(Stopper):
    """Stop a trial that has not improved for a number of epochs.

    Args:
        patience: epochs in a row without an improvement after which the trial stops. Epochs without a finite value
            are among them.
        min_delta: how much better than the best value before a value has to be to count as an improvement, in units
            of the objective; more than this, not just as much.
    """

    compares: ClassVar[bool] = False

    patience: int
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        check_count("patience", self.patience)
        check_not_negative("min_delta", self.min_delta)

    def should_stop(self, trial: Curve, others: Mapping[str, Curve]) -> str | None:
        """Why the trial should stop now, or None."""
        best, since = None, 0
        margin = self.min_delta if trial.direction == "max" else -self.min_delta
        for value in trial.values:
            since += 1
            if math.isfinite(value) and (best is None or trial.is_worse(best + margin, value)):
                best, since = value, 0
        if since < self.patience:
            return None
        found = "had no finite value" if best is None else f"did not improve on {best:.4g}"
        return f"it {found} for {in_epochs(since)}"


@dataclass(frozen=True)
class ThresholdStopper(Stopper):
    """Stop a trial that has not come as far as a given value after a number of epochs, such as one at chance level.

    Args:
        value: the value of the objective that a trial has to reach; reaching it exactly is enough.
        epoch: epochs that it has for that.
    """

    compares: ClassVar[bool] = False

    value: float
    epoch: int

    def __post_init__(self) -> None:
        check_finite("value", self.value)
        check_count("epoch", self.epoch)

    def should_stop(self, trial: Curve, others: Mapping[str, Curve]) -> str | None:
        """Why the trial should stop now, or None."""
        best = trial.best
        if trial.epochs < self.epoch or (best is not None and not trial.is_worse(best, self.value)):
            return None
        found = (
            "it had no finite value" if best is None else f"its best value, {best:.4g}, is worse than {self.value:.4g}"
        )
        return f"after {in_epochs(trial.epochs)} {found}"
