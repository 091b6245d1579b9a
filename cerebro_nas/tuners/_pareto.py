"""Several objectives at once: what dominates what, and one number that says it.

Source: Deb, Pratap, Agarwal, Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II" (2002), for
fronts and crowding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras_tuner
import numpy as np
from numpy.typing import NDArray

from cerebro_nas.tuners._objective import ParetoObjective

_COMPLETED = "COMPLETED"

Outcome = float | list[float]
"""What a trial came to, lower is better: a number or, with several objectives, one for each of them."""


def losses(trials: Sequence[Any], objective: keras_tuner.Objective) -> list[float | None]:
    """What each trial came to, lower is better; None for those that failed.

    With one objective it is that, negated if it is to be maximised. With several it is the number of the front that
    the trial is on (0: nothing dominates it) plus a part below 1 that is the smaller the fewer neighbours it has there.

    Args:
        trials: KerasTuner's, ended.
        objective: of the search.
    """
    done = [index for index, trial in enumerate(trials) if trial.status == _COMPLETED and trial.score is not None]
    found: list[float | None] = [None] * len(trials)
    if isinstance(objective, ParetoObjective):
        values = np.array([_vector(trials[index], objective, trials[index].best_step) for index in done], float)
        numbers = rank(values.reshape(len(done), len(objective.objectives))).tolist()
    else:
        sign = -1.0 if objective.direction == "max" else 1.0
        numbers = [sign * float(trials[index].score) for index in done]
    for index, number in zip(done, numbers, strict=True):
        found[index] = number
    return found


def latest(trial: Any, objective: keras_tuner.Objective) -> Outcome | None:
    """What a trial had come to at its last report; None if it reported nothing.

    Args:
        trial: KerasTuner's, whether it has ended or not.
        objective: of the search.
    """
    name, metrics = objective.name, trial.metrics
    history = metrics.get_history(name) if metrics.exists(name) else []
    if not history:
        return None
    if isinstance(objective, ParetoObjective):
        return _vector(trial, objective, history[-1].step)
    value = float(history[-1].mean())
    return -value if objective.direction == "max" else value


def comparable(outcomes: Mapping[str, Outcome | None]) -> dict[str, float]:
    """One number for each outcome, lower is better: itself or, of several objectives, its `rank` among these ones.

    Args:
        outcomes: all numbers or all vectors; None: failed, which is infinitely bad.
    """
    vectors = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, list)}
    numbers = dict(zip(vectors, rank(np.array(list(vectors.values()), float)).tolist(), strict=True)) if vectors else {}
    for name, outcome in outcomes.items():
        if not isinstance(outcome, list):
            numbers[name] = math.inf if outcome is None else outcome
    return numbers


def _vector(trial: Any, objective: ParetoObjective, step: int) -> list[float]:
    return [
        (-1.0 if part.direction == "max" else 1.0) * _value_at(trial, part.name, step) for part in objective.objectives
    ]


def _value_at(trial: Any, name: str, step: int) -> float:
    return next(float(item.mean()) for item in trial.metrics.get_history(name) if item.step == step)


def rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Number of the front of each row, plus its place in the front by crowding, from 0 (alone) to below 1.

    Args:
        values: of shape (trials, objectives), lower is better.

    Returns:
        Of shape (trials,).
    """
    numbers = fronts(values)
    ranks = numbers.astype(float)
    for number in range(int(numbers.max(initial=-1)) + 1):
        members = np.flatnonzero(numbers == number)
        # Stable, so that equal ones keep the order in which they ended.
        order = np.argsort(-_crowding(values[members]), kind="stable")
        ranks[members[order]] += np.arange(len(members)) / len(members)
    return ranks


def fronts(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of the front of each row: 0 for those that no other row dominates, and so on.

    Args:
        values: of shape (trials, objectives), lower is better.

    Returns:
        Of shape (trials,).
    """
    no_worse: NDArray[np.bool_] = np.all(values[:, None, :] <= values[None, :, :], axis=2)
    dominates = no_worse & ~no_worse.T
    count: NDArray[np.int64] = np.sum(dominates, axis=0, dtype=np.int64)
    numbers = np.full(len(values), -1, np.int64)
    here, number = np.flatnonzero(count == 0), 0
    while len(here):
        numbers[here] = number
        count = count - np.sum(dominates[here], axis=0, dtype=np.int64)
        count[here] = -1
        here, number = np.flatnonzero(count == 0), number + 1
    return numbers


def _crowding(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each row from its neighbours in its front; infinite at the ends."""
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        width = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if width > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / width
    return distance
