"""The median stopping rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cerebro_nas.stoppers._check import check_choice
from cerebro_nas.stoppers._check import check_count
from cerebro_nas.stoppers._curve import Curve
from cerebro_nas.stoppers._curve import Stopper
from cerebro_nas.stoppers._curve import in_epochs

_REFERENCES = ("median", "mean")
_AVERAGES = ("none", "running", "start")
_AMONG = ("ended", "all")


@dataclass(frozen=True, kw_only=True)
class MedianStopper(Stopper):
    """Stop a trial whose best value so far is strictly worse than the median of how the others did by that epoch.

    The median stopping rule of Google Vizier (Golovin et al., 2017): after epoch `t` the best value of the trial is
    compared with the median of what stands for the other trials at `t`. As published that is the mean of their values
    at epochs 1 to `t`, which is `average="running"`. Where curves rise steeply at first, such means stay far below what
    all trials soon reach, and little is saved; by default the value at epoch `t` itself stands for a trial.

    A trial that is better than each of the others is never stopped. Others that have not finished `t` epochs are not
    compared with, and values that are not finite are left out. Where trials begin with weights of others, epochs are
    those of the weights, in all trials together.

    Katib's rule `medianstop` is `MedianStopper(min_trials=3, start_epoch=4, reference="mean", average="start")`, apart
    from two things: Katib fixes what a trial is compared with when the trial begins, and here the trials that have
    ended meanwhile count as well; and Katib compares with those that were trained to their end, here with those that
    were stopped, too.

    Args:
        min_trials: other trials with as many epochs there must be before a trial is judged.
        start_epoch: epochs that a trial has to finish before it is judged.
        interval: epochs from one judgement of a trial to its next.
        reference: `"median"`, or `"mean"` for the arithmetic mean of the others, which one very bad trial can move.
        average: what stands for each of the others: its value at epoch `t` (`"none"`), the mean of its values at
            epochs 1 to `t` (`"running"`, as published, more lenient), or of those at epochs 1 to `start_epoch`,
            whatever `t` is (`"start"`).
        among: compare with trials that have ended (`"ended"`, as published), or also with those that run (`"all"`),
            which judges the first trials of a search with many live ones too.
    """

    min_trials: int = 5
    start_epoch: int = 4
    interval: int = 1
    reference: str = "median"
    average: str = "none"
    among: str = "ended"

    def __post_init__(self) -> None:
        for name in ("min_trials", "start_epoch", "interval"):
            check_count(name, getattr(self, name))
        check_choice("reference", self.reference, _REFERENCES)
        check_choice("average", self.average, _AVERAGES)
        check_choice("among", self.among, _AMONG)

    def should_stop(self, trial: Curve, others: Mapping[str, Curve]) -> str | None:
        """Why the trial should stop now, or None."""
        epoch, best = trial.epochs, trial.best
        if best is None or epoch < self.start_epoch or (epoch - self.start_epoch) % self.interval:
            return None
        found = [
            self._standing(other, trial.inherited + epoch)
            for other in others.values()
            if other.ended or self.among == "all"
        ]
        standings = [value for value in found if value is not None]
        if len(standings) < self.min_trials:
            return None
        reference = float(np.median(standings) if self.reference == "median" else np.mean(standings))
        if not trial.is_worse(best, reference):
            return None
        return (
            f"after {in_epochs(epoch)} its best value, {best:.4g}, is worse than the {self.reference} of "
            f"{len(standings)} other trials, {reference:.4g}"
        )

    def _standing(self, other: Curve, epoch: int) -> float | None:
        """How another trial did by this epoch; None if that cannot be said."""
        if other.inherited + other.epochs < epoch:
            return None
        first = epoch - 1 if self.average == "none" else 0
        last = self.start_epoch if self.average == "start" else epoch
        begin, end = (max(place - other.inherited, 0) for place in (first, last))
        values = [value for value in other.values[begin:end] if math.isfinite(value)]
        return math.fsum(values) / len(values) if values else None
