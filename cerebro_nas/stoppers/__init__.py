"""Rules that stop a trial early: pure functions of learning curves, usable with any tuner."""

from __future__ import annotations

from cerebro_nas.stoppers._curve import Curve
from cerebro_nas.stoppers._curve import Stopper
from cerebro_nas.stoppers._learning_curve import LearningCurveStopper
from cerebro_nas.stoppers._make import make_stoppers
from cerebro_nas.stoppers._median import MedianStopper
from cerebro_nas.stoppers._patience import PatienceStopper
from cerebro_nas.stoppers._patience import ThresholdStopper

__all__ = [
    "Curve",
    "LearningCurveStopper",
    "MedianStopper",
    "PatienceStopper",
    "Stopper",
    "ThresholdStopper",
    "make_stoppers",
]
