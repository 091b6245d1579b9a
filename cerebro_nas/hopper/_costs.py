"""How long things will take: predictions of the tuner, scaled and then replaced by what workers report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cerebro_nas.hopper._trial import Trial
    from cerebro_nas.hopper._types import Phase

_NEWEST_SHARE = 0.5
"""Weight of the newest report; the first one of a trial includes tracing and should fade."""

_MOVED = 0.02
"""A change of the scale by this share makes an order by estimates worth renewing."""

_EVALUATE_SHARE = 1 / 3
"""A forward pass against forward and backward, until an evaluation has been measured."""


class CostModel:
    """Seconds per row, by trial and phase."""

    def __init__(self) -> None:
        self._seconds: dict[Phase, float] = {}
        self._predicted: dict[Phase, float] = {}
        self._scales: dict[Phase, float] = {}

    @property
    def calibrated(self) -> bool:
        """Whether estimates are in seconds already: a unit that trains, or a call, has been measured."""
        return bool(self._seconds)

    def observe(self, trial: Trial, phase: Phase, rows: int, seconds: float) -> None:
        """Take in a measurement."""
        if rows <= 0 or seconds <= 0:
            return
        rate, old = seconds / rows, trial.rates.get(phase)
        trial.rates[phase] = rate if old is None else _NEWEST_SHARE * rate + (1 - _NEWEST_SHARE) * old
        self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds
        self._predicted[phase] = self._predicted.get(phase, 0.0) + trial.plan.cost * rows

    def rate(self, trial: Trial, phase: Phase) -> float:
        """Estimated seconds per row (per call, for phase `"call"`)."""
        measured = trial.rates.get(phase)
        if measured is not None:
            return measured
        if phase == "evaluate":
            train = trial.rates.get("train")
            if train is not None:
                return train * self._scale("evaluate") / self._scale("train")
        return trial.plan.cost * self._scale(phase)

    def remaining(self, trial: Trial) -> float:
        """Estimated seconds of all units that the trial still has before it."""
        phases: tuple[Phase, ...] = ("call",) if trial.plan.kind == "call" else ("train", "evaluate")
        return sum(self.rate(trial, phase) * trial.rows_left(phase) for phase in phases)

    def moved(self) -> bool:
        """Whether the scale of predictions has changed so much since this last said so that they are to be redone."""
        # Only phases that were measured have a scale of their own; the others follow.
        for phase in self._seconds:
            scale = self._scale(phase)
            if abs(scale - self._scales.get(phase, 0.0)) > _MOVED * scale:
                self._scales = {phase: self._scale(phase) for phase in self._seconds}
                return True
        return False

    def _scale(self, phase: Phase) -> float:
        predicted = self._predicted.get(phase, 0.0)
        if predicted > 0:
            return self._seconds[phase] / predicted
        return self._scale("train") * _EVALUATE_SHARE if phase == "evaluate" else 1.0
