"""Searches on a virtual clock, and peers behind the interface of our tuners."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras_tuner
import pytest

from benchmarks.search import _curves
from benchmarks.search import _functions
from benchmarks.search._contenders import BY_NAME
from benchmarks.search._contenders import Contender
from benchmarks.search._latency import PROBLEM as LATENCY
from benchmarks.search._latency import measure
from benchmarks.search._problem import Problem
from benchmarks.search._simulator import METRIC
from benchmarks.search._simulator import Simulation
from benchmarks.search._spaces import parameters
from cerebro_nas.tuners._stages import Dismissal
from cerebro_nas.tuners._stages import Promotion
from cerebro_nas.tuners._stages import Stage
from cerebro_nas.tuners._tuner import Exhausted
from cerebro_nas.tuners._tuner import TrialSuggestion
from cerebro_nas.tuners._tuner import Wait

SPACE = keras_tuner.HyperParameters()
CURVE = Problem(
    "falling", keras_tuner.HyperParameters, lambda values, units: values["x"] / units, 0.0, 4, units=6, per_epoch=3
)


class Scripted:
    """Answers from a list; writes down what it is told."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.told: list[tuple[Any, ...]] = []

    def ask(self) -> Any:
        return self.answers.pop(0) if self.answers else Exhausted()

    def report(self, trial_id: str, epoch: int, metrics: Mapping[str, float]) -> None:
        self.told.append(("report", trial_id, epoch, metrics[METRIC]))

    def pause(self, trial_id: str) -> None:
        self.told.append(("pause", trial_id))

    def finish(self, trial_id: str, status: str, reason: str = "") -> None:
        self.told.append(("finish", trial_id, status))

    def close(self) -> None:
        pass


def suggest(name: str, x: float, stage: Stage | None = None, **more: Any) -> TrialSuggestion:
    return TrialSuggestion(name, {"x": x}, SPACE, stage, **more)


def simulate(searcher: Any, problem: Problem = CURVE, **settings: Any) -> Simulation:
    return Simulation(problem, searcher, **{"workers": 2, "budget": 100, "seed": 0, **settings})


def test_trials_are_reported_at_each_epoch_and_finished() -> None:
    searcher = Scripted(suggest("a", 6.0))
    found = simulate(searcher).run()

    assert searcher.told == [("report", "a", 0, 2.0), ("report", "a", 1, 1.0), ("finish", "a", "COMPLETED")]
    assert (found.spent, found.trials, found.regret, found.finals) == (6, 1, 1.0, (1.0,))
    assert found.makespan == pytest.approx(6 * CURVE.unit_seconds({"x": 6.0}, 0, 0))
    assert [point.spent for point in found.path] == [3, 6]
    assert (found.spent_until(2.5), found.spent_until(1.0), found.spent_until(0.5)) == (3, 6, None)


def test_as_many_trials_run_as_there_are_workers() -> None:
    simulation = simulate(BY_NAME["random"].make(_functions.PROBLEMS[0], 0, 12), _functions.PROBLEMS[0], workers=4)
    clocks, running = [], []
    for clock in simulation.steps():
        clocks.append(clock)
        running.append(len(simulation.running))

    assert clocks == sorted(clocks)
    assert running == [3] * 9 + [2, 1, 0]


def test_tuners_know_what_is_pending() -> None:
    searcher = BY_NAME["random"].make(_functions.PROBLEMS[0], 0, 8)
    simulation = simulate(searcher, _functions.PROBLEMS[0], workers=3)
    oracle: Any = searcher.oracle  # type: ignore[attr-defined]
    for _ in simulation.steps():
        assert len(oracle.pending()) == len(simulation.running)


def test_results_come_in_the_order_of_the_clock_and_not_of_the_trials() -> None:
    searcher = Scripted(*(suggest(str(number), 1.0 + number) for number in range(12)))
    simulate(searcher, workers=6).run()
    finished = [told[1] for told in searcher.told if told[0] == "finish"]

    assert len(finished) == 12
    assert finished != sorted(finished, key=int)


def test_a_paused_trial_goes_on_where_it_was() -> None:
    stage = Stage(1, last=False)
    searcher = Scripted(suggest("a", 6.0, stage), Wait(), Promotion("a", Stage(2, last=True)))
    found = simulate(searcher).run()

    reports = [("report", "a", 0, 2.0), ("pause", "a"), ("report", "a", 1, 1.0), ("finish", "a", "COMPLETED")]
    assert searcher.told == reports
    assert found.spent == 6


def test_shards_are_units() -> None:
    searcher = Scripted(suggest("a", 6.0, Stage(2, last=False)), Wait(), Promotion("a", Stage(5, last=True)))
    simulate(searcher, shards=True).run()

    # At the end of the stage, of the first epoch, and of the last stage.
    assert [told[3] for told in searcher.told if told[0] == "report"] == [3.0, 2.0, 6.0 / 5]


def test_dismissed_and_unpromoted_trials_end() -> None:
    stage = Stage(1, last=False)
    searcher = Scripted(suggest("a", 1.0, stage), suggest("b", 2.0, stage), Wait(), Dismissal("a", "bad"))
    simulate(searcher).run()

    assert [told for told in searcher.told if told[0] == "finish"] == [
        ("finish", "a", "STOPPED"),
        ("finish", "b", "STOPPED"),
    ]


def test_the_budget_ends_a_search() -> None:
    searcher = Scripted(*(suggest(str(number), 1.0) for number in range(9)))
    found = simulate(searcher, budget=13).run()

    # What has begun is ended.
    assert (found.spent, found.trials) == (18, 3)


def test_a_child_goes_on_where_its_parent_was() -> None:
    searcher = Scripted(suggest("a", 6.0, Stage(1, last=True), parent="z", note={"inherited": 1}))
    found = simulate(searcher).run()

    assert searcher.told[0] == ("report", "a", 0, 1.0)
    assert found.spent == 3


def test_keras_tuners_hyperband_goes_on_in_another_trial() -> None:
    values = {"x": 6.0, "tuner/epochs": 2, "tuner/initial_epoch": 1}
    found = simulate(Scripted(TrialSuggestion("a", values, SPACE))).run()

    assert (found.spent, found.finals) == (3, (1.0,))


@pytest.mark.parametrize("name", ["random", "greedy", "kt-random", "hyperopt-tpe", "optuna-tpe", "optuna-mtpe"])
def test_a_search_is_the_same_again(name: str) -> None:
    problem = _functions.PROBLEMS[2]
    _needs(name)
    first, second = (simulate(BY_NAME[name].make(problem, 3, 12), problem, budget=12).run() for _ in range(2))

    assert first.path == second.path
    assert first.trials == 12


@pytest.mark.parametrize("name", ["hyperopt-tpe", "optuna-tpe", "optuna-cmaes"])
@pytest.mark.parametrize("problem", [*_functions.PROBLEMS, _curves.POWER], ids=lambda problem: problem.name)
def test_peers_give_active_values_of_the_space(name: str, problem: Problem) -> None:
    _needs(name)
    searcher = BY_NAME[name].make(problem, 0, 30)
    for number in range(30):
        suggestion = searcher.ask()
        assert isinstance(suggestion, TrialSuggestion)
        seen: dict[str, Any] = {}
        for item in parameters(problem.make_space()):
            assert (item.name in suggestion.values) == item.is_active(seen)
            if item.name in suggestion.values:
                value = seen[item.name] = suggestion.values[item.name]
                assert value in item.values if item.kind == "choice" else item.low <= value <= item.high
        searcher.report(suggestion.trial_id, 0, {METRIC: float(number)})
        searcher.finish(suggestion.trial_id, "COMPLETED")
    assert isinstance(searcher.ask(), Exhausted)


def test_latency_is_measured_around_each_size() -> None:
    found = measure(Contender("random"), (10, 20))

    assert len(parameters(LATENCY.make_space())) == 25
    assert all(seconds is not None and 0 < seconds < 1 for seconds in found)


def test_the_last_score_is_the_one_at_the_end() -> None:
    rising = replace(CURVE, loss=lambda values, units: units)
    found = simulate(Scripted(suggest("a", 1.0)), rising).run()

    # The best state is what a search keeps.
    assert (found.finals, found.regret) == ((6,), 3)


def _needs(name: str) -> None:
    module = name.partition("-")[0]
    if module in ("optuna", "hyperopt") and importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
