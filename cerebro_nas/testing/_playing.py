"""A search without training: a tuner, and a function that says what a configuration is worth."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner


class Played(NamedTuple):
    """What came of a search without training.

    Args:
        begun: the trials in the order in which they were proposed.
        ended: the same in the order in which they ended.
        scores: of those that did not fail, in that order.
    """

    begun: list[TrialSuggestion]
    ended: list[TrialSuggestion]
    scores: list[float]

    @property
    def values(self) -> list[dict[str, Any]]:
        """The configurations in the order in which they were proposed."""
        return [trial.values for trial in self.begun]


def play(tuner: Tuner, score: Callable[[dict[str, Any]], float | None], *, workers: int = 1, order: int = 0) -> Played:
    """Ask and tell a tuner whose trials are not trained in stages until it has no more of them, and close it.

    Args:
        tuner: the tuner.
        score: what a configuration is worth, by the tuner's objective; None: the trial fails.
        workers: trials at a time.
        order: seed for which of those that run ends next.
    """
    draw = random.Random(order)  # noqa: S311 - not for secrets
    running: list[TrialSuggestion] = []
    played = Played([], [], [])
    while True:
        while len(running) < workers and isinstance(answer := tuner.ask(), TrialSuggestion):
            running.append(answer)
            played.begun.append(answer)
        if not running:
            break
        trial = running.pop(draw.randrange(len(running)))
        value = score(trial.values)
        if value is None:
            tuner.finish(trial.trial_id, "FAILED", "no score")
        else:
            tuner.report(trial.trial_id, 0, {tuner.objective.name: value})
            tuner.finish(trial.trial_id, "COMPLETED")
            played.scores.append(value)
        played.ended.append(trial)
    tuner.close()
    return played
