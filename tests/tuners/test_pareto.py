from __future__ import annotations

import math
from typing import Any

import keras_tuner
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cerebro_nas.tuners import RandomOracle
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import make_objective
from cerebro_nas.tuners._pareto import fronts
from cerebro_nas.tuners._pareto import losses
from cerebro_nas.tuners._pareto import rank

Rows = NDArray[np.float64]


@st.composite
def rows(draw: Any) -> Rows:
    # Few different numbers, so that there are ties and equal rows.
    width = draw(st.integers(1, 4))
    row = st.lists(st.integers(0, 4), min_size=width, max_size=width)
    return np.array(draw(st.lists(row, max_size=12)), float).reshape(-1, width)


def dominates(one: Rows, other: Rows) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


@given(rows())
def test_the_front_is_what_nothing_dominates(values: Rows) -> None:
    wanted = [not any(dominates(other, row) for other in values) for row in values]

    assert (fronts(values) == 0).tolist() == wanted


@given(rows())
def test_fronts_are_peeled_off_one_after_the_other(values: Rows) -> None:
    wanted = [-1] * len(values)
    number = 0
    while -1 in wanted:
        left = [index for index, have in enumerate(wanted) if have == -1]
        for index in left:
            if not any(dominates(values[other], values[index]) for other in left):
                wanted[index] = -2
        wanted = [number if have == -2 else have for have in wanted]
        number += 1

    assert fronts(values).tolist() == wanted


@given(rows())
def test_ranks_order_by_front_and_never_reach_the_next_one(values: Rows) -> None:
    ranks = rank(values)

    assert np.floor(ranks).tolist() == fronts(values).tolist()
    # A total order: no two trials have the same place.
    assert len(set(ranks.tolist())) == len(values)


@given(rows(), st.randoms(use_true_random=False))
def test_fronts_do_not_depend_on_the_order_of_the_rows(values: Rows, draw: Any) -> None:
    order = list(range(len(values)))
    draw.shuffle(order)

    assert fronts(values[order]).tolist() == fronts(values)[order].tolist()


def crowding(front: list[tuple[float, ...]], index: int) -> float:
    """NSGA-II's, of one point, as its paper puts it."""
    total = 0.0
    for column in zip(*front, strict=True):
        order = sorted(range(len(front)), key=lambda row: column[row])
        place = order.index(index)
        if place in (0, len(order) - 1):
            return math.inf
        total += (column[order[place + 1]] - column[order[place - 1]]) / (max(column) - min(column))
    return total


@given(st.sets(st.integers(1, 100), min_size=2, max_size=8))
def test_within_a_front_the_lonely_come_first(xs: set[int]) -> None:
    # No ties: on a falling curve nothing dominates anything.
    front: list[tuple[float, ...]] = [(float(x), 100.0 / x) for x in xs]
    ranks = rank(np.array(front))
    wanted = sorted(range(len(front)), key=lambda index: (-crowding(front, index), index))

    assert (ranks < 1).all()
    assert np.argsort(ranks).tolist() == wanted


def test_crowding_by_hand() -> None:
    values = np.array([[0.0, 6.0], [1.0, 5.0], [5.0, 1.0], [6.0, 0.0], [5.5, 0.5], [7.0, 7.0]])

    # The ends; then gaps of 10/6, of 9/6 and of 2/6 (both objectives added up); last what is dominated.
    assert np.argsort(rank(values), kind="stable").tolist() == [0, 3, 1, 2, 4, 5]
    assert rank(values)[5] == 1.0


def test_equal_trials_keep_the_order_in_which_they_ended() -> None:
    # The ends of a front are whatever is first and last; between them nothing tells one from another.
    assert np.argsort(rank(np.ones((5, 2)))).tolist() == [0, 4, 1, 2, 3]


def test_nothing_has_no_fronts() -> None:
    assert rank(np.zeros((0, 2))).tolist() == []
    assert fronts(np.zeros((0, 2))).tolist() == []


OBJECTIVES = make_objective(["val_accuracy", keras_tuner.Objective("latency_ms", "min")])


def ended(objective: Any, reports: list[list[dict[str, float]]]) -> list[Any]:
    """KerasTuner's trials of these reports, one list for each trial; an empty one failed."""
    space = keras_tuner.HyperParameters()
    space.Float("x", 0.0, 1.0)
    tuner = Tuner(
        RandomOracle(hyperparameters=space, objective=objective, max_trials=len(reports), seed=0),
        max_trials=len(reports),
    )
    for epochs in reports:
        suggestion = tuner.ask()
        assert isinstance(suggestion, TrialSuggestion)
        for epoch, metrics in enumerate(epochs):
            tuner.report(suggestion.trial_id, epoch, metrics)
        tuner.finish(suggestion.trial_id, "COMPLETED" if epochs else "FAILED")
    tuner.close()
    return list(tuner.oracle.trials.values())


@pytest.mark.parametrize(("direction", "sign"), [("min", 1.0), ("max", -1.0)])
def test_one_objective_is_its_own_loss(direction: str, sign: float) -> None:
    objective = keras_tuner.Objective("score", direction)
    trials = ended(objective, [[{"score": 0.5}], [], [{"score": 2.0}]])

    assert losses(trials, objective) == [sign * 0.5, None, sign * 2.0]


def test_of_several_objectives_the_front_is_the_loss() -> None:
    good_slow = [{"val_accuracy": 0.9, "latency_ms": 8.0}]
    bad_fast = [{"val_accuracy": 0.5, "latency_ms": 1.0}]
    bad_slow = [{"val_accuracy": 0.4, "latency_ms": 9.0}]
    found = losses(ended(OBJECTIVES, [bad_slow, good_slow, [], bad_fast]), OBJECTIVES)

    assert found[2] is None
    assert [None if loss is None else math.floor(loss) for loss in found] == [1, 0, None, 0]


def test_all_objectives_are_taken_at_the_best_epoch_of_the_first() -> None:
    # Fast at first, but its best accuracy came when it was slow: the other one dominates it.
    late = [{"val_accuracy": 0.1, "latency_ms": 1.0}, {"val_accuracy": 0.7, "latency_ms": 9.0}]
    steady = [{"val_accuracy": 0.8, "latency_ms": 5.0}]

    assert losses(ended(OBJECTIVES, [late, steady]), OBJECTIVES) == [1.0, 0.0]


@pytest.mark.parametrize("objective", [OBJECTIVES, keras_tuner.Objective("score", "max")])
def test_failures_alone_have_no_loss(objective: Any) -> None:
    assert losses(ended(objective, [[], []]), objective) == [None, None]
    assert losses([], objective) == []
