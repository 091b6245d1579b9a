"""Which unit comes first, and how much work a decision is."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.hopper import Command
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import NoMoreTrials
from cerebro_nas.hopper import RunUnit
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import TrialAdded
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import TrialStatus
from cerebro_nas.hopper import TrialStopRequested
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitReport
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.hopper._costs import CostModel
from cerebro_nas.hopper._policy import Policy
from cerebro_nas.hopper._ranking import Ranking
from cerebro_nas.hopper._trial import Trial
from cerebro_nas.testing import run_search
from cerebro_nas.testing import shard_search

if TYPE_CHECKING:
    from collections.abc import Callable

    from cerebro_nas.hopper import Unit
    from cerebro_nas.worker import CandidateSpec


def make(plans: list[TrialPlan], *, workers: int, shards: int, fetch: float = 0.0) -> Hopper:
    infos = [ShardInfo(Shard("train", i), 10, round(fetch * 1e6)) for i in range(shards)]
    hopper = Hopper(infos, num_workers=workers, parallelism=len(plans), fetch_bytes_per_second=1e6)
    for i in range(workers):
        hopper.handle(WorkerJoined(f"w{i}"), 0.0)
    for plan in plans:
        hopper.handle(TrialAdded(plan), 0.0)
    return hopper


def units(commands: list[Command]) -> dict[str, RunUnit]:
    return {c.unit.trial: c for c in commands if isinstance(c, RunUnit)}


def end(hopper: Hopper, run: RunUnit, now: float, seconds: float, busy: float | None = None) -> None:
    report = UnitReport(10, {}, seconds, seconds if busy is None else busy)
    hopper.handle(UnitDone(run.worker, run.unit, report), now)


def test_what_the_end_does_not_wait_for_goes_shortest_first_while_more_trials_come() -> None:
    plans = [TrialPlan(f"t{i}", 10, cost) for i, cost in enumerate((1.0, 1.1, 1.2, 1.3, 1.4, 1.5))]
    for more, expected in ((True, "t0"), (False, "t4")):
        hopper = make(plans, workers=1, shards=1)
        if not more:
            hopper.handle(NoMoreTrials(), 0.0)
        (run,) = units(hopper.poll(0.0)).values()
        assert run.unit.trial == "t5"  # nothing has been measured: the longest
        end(hopper, run, 15.0, 15.0)
        assert set(units(hopper.poll(15.0))) == {expected}


def test_a_trial_that_the_end_waits_for_goes_first_although_more_come() -> None:
    hopper = make([TrialPlan("long", 10, 5.0), TrialPlan("a", 1), TrialPlan("b", 1)], workers=2, shards=2)
    runs = units(hopper.poll(0.0))
    assert "long" in runs
    end(hopper, runs["long"], 50.0, 50.0)
    assert set(units(hopper.poll(50.0))) == {"long"}


@pytest.mark.parametrize(("fetch", "expected"), [(0.1, "long"), (8.0, "b")])
def test_a_shard_is_fetched_for_a_critical_trial_if_that_is_cheap(fetch: float, expected: str) -> None:
    hopper = make([TrialPlan("long", 1, 5.0), TrialPlan("a", 1), TrialPlan("b", 1)], workers=2, shards=2, fetch=fetch)
    hopper.handle(NoMoreTrials(), 0.0)
    runs = units(hopper.poll(0.0))
    busy = next(run for trial, run in runs.items() if trial != "long")
    end(hopper, runs["long"], 5.0, 5.0)
    # The worker that is free had the shard that it visited; the other shard is with the worker that is not.
    (run,) = units(hopper.poll(5.0)).values()
    assert run.worker == runs["long"].worker != busy.worker
    assert run.unit.trial == (expected if expected == "long" else next(t for t in ("a", "b") if t not in runs))


def test_fetching_a_shard_says_nothing_of_the_next_unit() -> None:
    hopper = make([TrialPlan("a", 2)], workers=1, shards=2)
    (first,) = units(hopper.poll(0.0)).values()
    end(hopper, first, 60.0, 60.0, busy=4.0)
    assert hopper.snapshot().trials[0].remaining_seconds == pytest.approx(3 * 4.0)
    (second,) = units(hopper.poll(60.0)).values()
    end(hopper, second, 65.0, 5.0, busy=4.0)
    (third,) = units(hopper.poll(65.0)).values()
    end(hopper, third, 71.0, 6.0, busy=4.0)
    # It was there before: what the unit took beside its steps comes again.
    assert hopper.snapshot().trials[0].remaining_seconds == pytest.approx(5.0)


def test_it_says_what_runs_now() -> None:
    hopper = make([TrialPlan("a", 2)], workers=2, shards=1)
    (run,) = units(hopper.poll(0.0)).values()
    other = "w1" if run.worker == "w0" else "w0"
    assert hopper.is_running(run.worker, run.unit)
    assert not hopper.is_running(other, run.unit)
    assert not hopper.is_running("nobody", run.unit)
    hopper.handle(WorkerLost(run.worker, "gone"), 1.0)
    assert not hopper.is_running(run.worker, run.unit)


def test_nothing_is_expected_of_a_trial_that_was_stopped() -> None:
    hopper = make([TrialPlan("a", 1), TrialPlan("b", 1)], workers=2, shards=2, fetch=3.0)
    runs = units(hopper.poll(0.0))
    hopper.handle(TrialStopRequested("a", TrialStatus.STOPPED, ""), 0.0)
    hopper.handle(NoMoreTrials(), 0.0)
    end(hopper, runs["b"], 2.0, 2.0)
    # The worker of `a` is not free yet, so `b` is worth a fetch: nothing else will free its other shard.
    assert set(units(hopper.poll(2.0))) == {"b"}


def work(workers: int, trials: int, monkeypatch: pytest.MonkeyPatch) -> tuple[float, Counter[str]]:
    """Run a search; return its units and how often the parts of a decision were called for each of them."""
    counts: Counter[str] = Counter()

    def count(owner: type, name: str) -> None:
        real: Callable[..., object] = getattr(owner, name)

        def counted(*arguments: object) -> object:
            counts[name] += 1
            return real(*arguments)

        monkeypatch.setattr(owner, name, counted)

    draw = random.Random(0)
    rates = {f"t{i}": draw.lognormvariate(0, 0.5) for i in range(trials)}
    search = shard_search([1000] * workers, [1000])

    def seconds(unit: Unit, spec: CandidateSpec) -> float:
        return rates[spec.trial]

    with monkeypatch.context() as monkeypatch:
        for owner, name in [(CostModel, "rate"), (CostModel, "remaining"), (Policy, "_near"), (Policy, "_options")]:
            count(owner, name)
        for owner, name in [(Ranking, "_weigh"), (Trial, "allowed"), (Policy, "_after")]:
            count(owner, name)
        infos = [ShardInfo(Shard("train", i), 1000, 1000) for i in range(workers)]
        hopper = Hopper([*infos, ShardInfo(Shard("valid", 0), 1000, 1000)], num_workers=workers)
        plans = [TrialPlan(trial, 1, rate / 1000) for trial, rate in rates.items()]
        run_search(hopper, SimulatedBackend(workers, seconds=seconds), search, plans)
    return len(hopper.log), counts


def test_a_decision_is_no_more_work_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    few, counts = work(4, 32, monkeypatch)
    many, more = work(32, 128, monkeypatch)
    assert few == 32 * 5
    assert many == 128 * 33
    for name in more | counts:
        # Observed: at most 4.3 calls for each unit, with 4 workers and 8 live trials as with 32 and 64.
        assert more[name] / many <= 1.5 * counts[name] / few + 0.5, name
        assert more[name] / many <= 6, name
