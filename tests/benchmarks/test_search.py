"""The problems of the search benchmark, and its statistics."""

from __future__ import annotations

import argparse
import itertools
import math
import random
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from benchmarks import search
from benchmarks._errors import BenchmarkError
from benchmarks.search import _contenders
from benchmarks.search import _curves
from benchmarks.search import _functions
from benchmarks.search import _macro
from benchmarks.search._problem import Problem
from benchmarks.search._report import Comparison
from benchmarks.search._report import shares_of
from benchmarks.search._runs import Run
from benchmarks.search._runs import Task
from benchmarks.search._runs import find_problems
from benchmarks.search._runs import run_tasks
from benchmarks.search._spaces import parameters
from benchmarks.search._statistics import mean_of_last
from benchmarks.search._statistics import p_greater
from benchmarks.search._statistics import p_less
from benchmarks.search._statistics import p_less_paired
from benchmarks.search._statistics import summarise

PROBLEMS = {problem.name: problem for problem in find_problems()}
BEST_CASH = {
    "scale": True,
    "model": "network",
    "network/layers": 3,
    "network/width": 128,
    "network/optimizer": "adam",
    "network/adam/rate": 1e-3,
    "network/adam/decay": 1e-4,
}
BEST_POWER = {"rate": 10**-2.5, "width": 256, "dropout": 0.3, "optimizer": "adam", "decay": 1e-4}


def draw(problem: Problem, rng: random.Random) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for hp, item in zip(problem.make_space().space, parameters(problem.make_space()), strict=True):
        if item.is_active(values):
            values[item.name] = hp.prob_to_value(rng.random())
    return values


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    search.add_arguments(parser)
    return parser.parse_args(words)


def made(tuner: str, seed: int, regret: float, **more: Any) -> Run:
    problem = more.pop("problem", "branin")
    return Run(Task(problem, tuner, 4, seed, 20), regret=regret, trials=20, **more)


@pytest.mark.parametrize("name", PROBLEMS)
def test_no_configuration_is_better_than_the_optimum(name: str) -> None:
    problem, rng = PROBLEMS[name], random.Random(1)
    found = [problem.regret(values, problem.units) for values in (draw(problem, rng) for _ in range(200))]

    assert min(found) >= 0
    assert max(found) > 0.1


def test_the_optima_are_those_of_the_functions() -> None:
    branin = minimize(lambda x: _functions.branin({"x1": x[0], "x2": x[1]}), [3.0, 2.0], tol=1e-12)
    start = [0.2, 0.15, 0.48, 0.28, 0.31, 0.66]
    hartmann = minimize(lambda x: _functions.hartmann({f"x{i}": x[i] for i in range(6)}), start, tol=1e-12)

    assert branin.fun == pytest.approx(_functions.BRANIN_OPTIMUM, abs=1e-9)
    assert hartmann.fun == pytest.approx(_functions.HARTMANN_OPTIMUM, abs=1e-6)
    assert hartmann.fun >= _functions.HARTMANN_OPTIMUM - 1e-9


@pytest.mark.parametrize(("name", "values"), [("cash", BEST_CASH), ("power-laws", BEST_POWER)])
def test_the_best_configuration_has_no_regret(name: str, values: dict[str, Any]) -> None:
    assert PROBLEMS[name].regret(values, PROBLEMS[name].units) == pytest.approx(0, abs=1e-9)


def test_conditions_of_cash_are_two_deep() -> None:
    deepest = max(parameters(_functions.cash_space()), key=lambda item: len(item.conditions))

    assert [name for name, _ in deepest.conditions] == ["model", "network/optimizer"]
    assert not deepest.is_active({"model": "forest"})
    assert deepest.is_active({"model": "network", **{name: values[0] for name, values in deepest.conditions}})


def test_a_macro_space_adds_up_to_one() -> None:
    scores, skips = _macro._tables(_macro.LARGE)
    best: dict[str, Any] = {f"layer_{layer}/operation": int(scores[layer].argmax()) for layer in range(6)}
    best |= {f"layer_{layer}/skip_{earlier}": wanted for (layer, earlier), wanted in skips.items()}

    assert _macro.LARGE.loss(best) == pytest.approx(0)
    # 15 skip connections have 30 % in common.
    other = {**best, "layer_3/skip_1": not best["layer_3/skip_1"]}
    assert _macro.LARGE.loss(other) == pytest.approx(0.3 / 15)
    assert len(parameters(_macro.LARGE.space())) == 6 + 15


def test_katib_has_106_operations_in_its_order() -> None:
    known = _macro.operations()

    assert len(known) == 30 + 60 + 12 + 4
    assert known[27] == ("convolution", 7, 96, 2)
    assert known[9] == ("convolution", 3, 128, 2)


def test_power_laws_cross() -> None:
    rng = random.Random(3)
    values = draw(_curves.POWER, rng)
    curve = [_curves.power_law(values, units) for units in range(1, 28)]
    pairs = [(draw(_curves.POWER, rng), draw(_curves.POWER, rng)) for _ in range(100)]
    crossed = sum(
        (_curves.power_law(a, 1) < _curves.power_law(b, 1)) != (_curves.power_law(a, 27) < _curves.power_law(b, 27))
        for a, b in pairs
    )

    assert all(after < before for before, after in itertools.pairwise(curve))
    assert 15 <= crossed <= 60


def test_every_configuration_of_the_recorded_space_has_a_curve() -> None:
    table = _curves.recorded()
    points = list(itertools.product(*table["choices"].values()))

    assert set(table["curves"]) == set(points)
    assert {len(curve) for curve in table["curves"].values()} == {table["epochs"] * table["shards"]}
    values = dict(zip(table["choices"], points[5], strict=True))
    assert _curves.recorded_loss(values, 27) == 1 - table["curves"][points[5]][26]


def test_noise_follows_from_seed_configuration_and_trial() -> None:
    problem, values = PROBLEMS["macro-6"], draw(PROBLEMS["macro-6"], random.Random(2))
    seen = [problem.observe(values, 1, seed, trial) for seed, trial in ((0, 0), (0, 1), (1, 0))]

    assert problem.observe(dict(reversed(values.items())), 1, 0, 0) == seen[0]
    assert len(set(seen)) == 3
    spread = np.std([problem.observe(values, 1, 0, trial) for trial in range(300)])
    assert spread == pytest.approx(problem.noise, rel=0.15)


def test_times_differ_and_are_right_on_average() -> None:
    problem, values = PROBLEMS["branin"], {"x1": 0.0, "x2": 0.0}
    times = [problem.unit_seconds(values, 0, trial) for trial in range(500)]

    assert np.mean(times) == pytest.approx(1.0, rel=0.1)
    assert max(times) > 2 * np.median(times)


def test_statistics() -> None:
    low, high = [1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]

    assert summarise([4.0, 1.0, 3.0, 2.0, 5.0]) == summarise(low)
    assert (summarise(low).median, summarise(low).low, summarise(low).high) == (3.0, 2.0, 4.0)
    # Exact: one of 252 orders.
    assert p_less(low, high) == pytest.approx(1 / 252)
    assert p_greater(low, high) == pytest.approx(1.0)
    assert p_less([1.0, 1.0], [1.0, 1.0]) == 0.5
    # One of 32 patterns of signs; the seeds decide what belongs together.
    ours, theirs = dict(enumerate(low)), {seed: value + 0.1 for seed, value in enumerate(low)}
    assert p_less_paired(ours, theirs) == pytest.approx(1 / 32)
    assert p_less(list(ours.values()), list(theirs.values())) > 0.3
    assert p_less_paired(ours, dict(reversed(ours.items()))) == 0.5
    assert math.isnan(p_less_paired(ours, {9: 1.0}))
    assert mean_of_last([9.0, None, 1.0, 3.0], 3) == 2.0
    assert math.isnan(mean_of_last([None], 3))


def test_shares_count_units_until_the_final_score_of_the_same_seed() -> None:
    base = [made("random", seed, 0.1, spent=100, path=((10, 0.5), (90, 0.2))) for seed in (0, 1)]
    ours = [made("asha:shards", 0, 0.1, path=((5, 0.4), (30, 0.2))), made("asha:shards", 1, 0.1, path=((5, 0.21),))]

    assert shares_of(ours, base) == [0.3, 2.0]


def test_bars_that_are_missed_are_named() -> None:
    runs = [made("random", seed, 1.0 + seed) for seed in range(5)]
    runs += [made("bayesian", seed, 0.1 + 0.01 * seed) for seed in range(5)]
    runs += [made("tpe", seed, 2.5 + seed) for seed in range(5)]
    runs += [made("kt-bayesian", seed, 0.01) for seed in range(5)]
    runs.append(Run(Task("branin", "optuna-gp", 4, 0, 20), problem_found="needs torch"))

    tables, missed = Comparison(runs).tables()

    assert [table.title for table in tables] == ["Simple regret", "Against peers", "Not run"]
    assert len(missed) == 2
    assert "tpe against random" in missed[0]
    assert "bayesian is worse than kt-bayesian" in missed[1]
    beats = {row[2]: row[9] for row in tables[0].rows}
    assert beats == {"random": None, "bayesian": True, "tpe": False, "kt-bayesian": None}


def test_rl_must_beat_random_in_nine_of_ten_seeds() -> None:
    runs = [made("random", seed, 0.3, last_reward=-0.5, problem="macro-6") for seed in range(10)]
    good = [made("rl", seed, 0.0, last_reward=-0.1, problem="macro-6") for seed in range(9)]
    last = made("rl", 9, 0.0, last_reward=-0.6, problem="macro-6")

    assert Comparison([*runs, *good, last]).tables()[1] == []
    (missed,) = Comparison([*runs, *good[:8], last, made("rl", 8, 0.0, last_reward=-0.7, problem="macro-6")]).tables()[
        1
    ]
    assert "8 of 10" in missed


def test_the_command_line_says_what_is_searched() -> None:
    chosen = _contenders.choose(["greedy"], peers=False)
    given = arguments("--problems", "branin", "cash", "--workers", "1", "4", "--seeds", "2", "--evaluations", "7")
    wanted = search.tasks(given, chosen)

    assert [contender.name for contender in chosen] == ["random", "greedy"]
    assert len(wanted) == 2 * 2 * 2 * 2
    assert {task.evaluations for task in wanted} == {7}
    assert {task.evaluations for task in search.tasks(arguments("--quick"), chosen)} == {20}
    assert any(contender.name == "kt-random" for contender in _contenders.choose(None, peers=True))


def test_names_that_nobody_has_are_refused() -> None:
    with pytest.raises(BenchmarkError, match="nobody"):
        _contenders.choose(["nobody"], peers=False)
    with pytest.raises(BenchmarkError, match="nothing"):
        find_problems(["nothing"])


def test_searches_that_were_made_are_not_made_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, file = [Task("branin", "random", 2, seed, 3) for seed in (0, 1)], tmp_path / "runs.jsonl"
    first = run_tasks(wanted[:1], 1, file)
    again = run_tasks(wanted, 1, file)

    assert again[0] == first[0]
    assert [run.task for run in again] == wanted
    assert len(file.read_text().splitlines()) == 2
    monkeypatch.setattr("benchmarks.search._runs._made", lambda tasks, jobs: iter(() if not tasks else [1 / 0]))
    assert run_tasks(wanted, 1, file) == again


def test_a_side_that_fails_is_told_of() -> None:
    (run,) = run_tasks([Task("branin", "nobody", 1, 0, 2)], 1, None)

    assert "nobody" in run.problem_found
    assert Comparison([run]).failed
