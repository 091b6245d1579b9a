"""The order that is kept equals the order that sorting gives."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper._costs import CostModel
from cerebro_nas.hopper._ranking import Ranking
from cerebro_nas.hopper._ranking import leading
from cerebro_nas.hopper._shards import ShardTable
from cerebro_nas.hopper._trial import Trial

if TYPE_CHECKING:
    from collections.abc import Iterable

TABLE = ShardTable([ShardInfo(Shard("train", i), 10, 10) for i in range(3)] + [ShardInfo(Shard("valid", 0), 5, 5)], 1.0)


def in_order(trials: Iterable[Trial], costs: CostModel) -> list[str]:
    return [t.plan.trial for t in sorted(trials, key=lambda t: (-costs.remaining(t), t.draw))]


def names(trials: Iterable[Trial]) -> list[str]:
    return [trial.plan.trial for trial in trials]


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_it_keeps_the_order_through_any_changes(seed: int, steps: int) -> None:
    draw = random.Random(seed)
    costs = CostModel()
    ranking = Ranking(TABLE, costs)
    waiting: dict[str, Trial] = {}
    running: dict[str, Trial] = {}
    for step in range(steps):
        action = draw.choice(["new", "take", "end", "measure", "lose", "forget"])
        if action == "new":
            trial = Trial(TrialPlan(f"t{step}", 2, draw.uniform(0.5, 2)), TABLE, draw.random(), step)
            waiting[f"t{step}"] = trial
            ranking.add(trial)
        elif action == "take" and waiting:
            name = draw.choice(list(waiting))
            running[name] = waiting.pop(name)
            ranking.take(running[name])
        elif action == "end" and running:
            name = draw.choice(list(running))
            waiting[name] = trial = running.pop(name)
            trial.holder = draw.choice(["w0", "w1"])
            costs.observe(trial, "train", 10, draw.uniform(5, 20))
            ranking.add(trial)
        elif action == "lose" and waiting:
            ranking.change(draw.choice(list(waiting.values())), lambda trial: setattr(trial, "holder", None))
        elif action == "forget" and waiting:
            ranking.forget(waiting.pop(draw.choice(list(waiting))))
        ranking.renew()
        check(ranking, costs, waiting, running)


def check(ranking: Ranking, costs: CostModel, waiting: dict[str, Trial], running: dict[str, Trial]) -> None:
    live = [*waiting.values(), *running.values()]
    assert len(ranking) == len(waiting)
    assert abs(ranking.total - sum(trial.remaining for trial in live)) < 1e-6 * (1 + ranking.total)
    assert all(abs(t.remaining - costs.remaining(t)) <= 0.03 * t.remaining for t in live)
    assert names(ranking.waiting.trials) == names(sorted(waiting.values(), key=lambda t: t.rank))
    for worker in ("w0", "w1"):
        held = [trial for trial in waiting.values() if trial.holder == worker]
        assert names(ranking.held(worker).trials) == names(sorted(held, key=lambda t: t.rank))
    assert ranking.longest_unit >= max((t.longest_unit for t in live), default=0.0)


def test_both_ends_skip_what_is_far_and_what_does_not_fit() -> None:
    costs = CostModel()
    ranking = Ranking(TABLE, costs)
    trials = [Trial(TrialPlan(f"t{i}", 1, cost=float(i + 1)), TABLE, 0.5, 0.0) for i in range(4)]
    trials[3].wants = trials[0].wants = 0b001
    for trial in trials:
        ranking.add(trial)
    assert names(ranking.waiting.trials) == in_order(trials, costs)
    longest, shortest = ranking.waiting.longest(0b010, lambda t: True), ranking.waiting.shortest(0b010, lambda t: True)
    assert (longest, shortest) == (trials[2], trials[1])
    unit = trials[2].launch(Shard("train", 1), "w0")
    trials[2].avoid(unit, "w0")
    assert ranking.waiting.longest(0b010, lambda t: False) is trials[1]
    assert ranking.waiting.longest(0b1000000, lambda t: True) is None
    assert names(leading(ranking.waiting, 3, trials[1])) == names(trials[:1:-1])


def test_the_oldest_come_first_by_age() -> None:
    ranking = Ranking(TABLE, CostModel())
    trials = [Trial(TrialPlan(f"t{i}", 1), TABLE, 0.5, 0.0) for i in range(3)]
    for trial in trials:
        ranking.add(trial)
    ranking.take(trials[0])
    ranking.add(trials[0])
    assert names(ranking.oldest()) == ["t1", "t2", "t0"]


def test_the_order_is_renewed_only_when_the_scale_has_moved() -> None:
    costs = CostModel()
    ranking = Ranking(TABLE, costs)
    measured, fresh = (Trial(TrialPlan(name, 1), TABLE, 0.5, 0.0) for name in ("measured", "fresh"))
    for trial in (measured, fresh):
        ranking.add(trial)
    costs.observe(measured, "train", 10, 100.0)
    ranking.renew()
    assert fresh.remaining == costs.remaining(fresh)
    before = fresh.remaining
    costs.observe(measured, "train", 10, 101.0)
    ranking.renew()
    assert fresh.remaining == before
