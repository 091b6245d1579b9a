"""Stopping by extrapolation of learning curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cerebro_nas.errors import ConfigError
from cerebro_nas.stoppers._check import check_count
from cerebro_nas.stoppers._check import check_probability
from cerebro_nas.stoppers._curve import Curve
from cerebro_nas.stoppers._curve import Stopper
from cerebro_nas.stoppers._curve import in_epochs
from cerebro_nas.stoppers._extrapolate import Array
from cerebro_nas.stoppers._extrapolate import forecast


@dataclass(frozen=True, kw_only=True)
class LearningCurveStopper(Stopper):
    """Stop a trial that will hardly end better than the best value any other trial has reached.

    After Domhan, Springenberg and Hutter (2015): the curve so far is extrapolated to the last planned epoch by an
    ensemble of parametric curves (power laws, exponentials, log-powers), and the trial stops when the probability of
    ending above the best value of the others is below `threshold`. Where they sample parameters by Markov chains, here
    shapes come from a fixed grid and the rest is linear regression in closed form: the same answer every time, in
    milliseconds beside a thousand other trials. The prior says that a trial ends within about the range in which the
    others did.

    It knows curves that rise fast at first and level off. One that stays at chance level for long before it begins to
    learn is taken for one that does not learn: set `min_epochs` beyond that. Trials without a known last epoch
    (`Curve.planned`) are not judged, nor are those that began with weights of others, whose curves have another form.

    Args:
        threshold: probability of beating the best value below which a trial stops.
        min_epochs: epochs with a finite value before a trial is judged, at least 2.
        min_trials: other trials that must have come as far before a trial is judged; what they reached is the prior.
        interval: epochs from one judgement of a trial to its next.
    """

    threshold: float = 0.05
    min_epochs: int = 4
    min_trials: int = 3
    interval: int = 1

    def __post_init__(self) -> None:
        check_probability("threshold", self.threshold)
        for name in ("min_epochs", "min_trials", "interval"):
            check_count(name, getattr(self, name))
        if self.min_epochs < 2:
            raise ConfigError(
                f"`min_epochs` must be at least 2. Received: min_epochs={self.min_epochs!r}. A single epoch has no "
                "direction; pass for example 4."
            )

    def should_stop(self, trial: Curve, others: Mapping[str, Curve]) -> str | None:
        """Why the trial should stop now, or None."""
        epoch, horizon = trial.epochs, trial.planned
        if horizon is None or epoch >= horizon or trial.inherited:
            return None
        sign = 1.0 if trial.direction == "max" else -1.0
        values = sign * np.array(trial.values, dtype=float)
        seen = np.flatnonzero(np.isfinite(values))
        if len(seen) < self.min_epochs or (len(seen) - self.min_epochs) % self.interval:
            return None
        bests = [sign * other.best for other in others.values() if other.best is not None]
        as_far = [
            sign * other.best
            for other in others.values()
            if other.best is not None and other.inherited + other.epochs >= epoch
        ]
        if len(as_far) < self.min_trials or values[seen].max() >= max(bests):
            return None
        scale = _scale([trial.finite, *(other.finite for other in others.values())])
        expected = forecast(seen + 1, values[seen], horizon, centre=float(np.median(as_far)), scale=scale)
        chance = expected.chance_above(max(bests))
        if chance >= self.threshold:
            return None
        return (
            f"after {in_epochs(epoch)} the chance that it ends, at epoch {horizon}, better than the best value of the "
            f"others, {sign * max(bests):.4g}, is {chance:.2g}, below {self.threshold:.4g}"
        )


def _scale(curves: list[Array]) -> float:
    """How far values of the objective lie apart, whatever single ones do."""
    values = np.concatenate(curves)
    low, high = np.quantile(values, (0.1, 0.9))
    # Above 0, as the caller has seen two values that differ.
    return float(high - low) or float(np.ptp(values))
