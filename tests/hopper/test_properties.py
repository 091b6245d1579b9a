"""Properties of the hopper over whole simulated searches."""

from __future__ import annotations

import random
from collections import Counter
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend.simulated import FailUnit
from cerebro_nas.backend.simulated import JoinLate
from cerebro_nas.backend.simulated import Kill
from cerebro_nas.hopper import AskTrials
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import RunUnit
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import TrialFinished
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import TrialStatus
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import VisitOrder
from cerebro_nas.testing import run_search
from cerebro_nas.testing import shard_search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cerebro_nas.backend.simulated import Fault
    from cerebro_nas.hopper import ScheduleEntry
    from cerebro_nas.testing import SimulatedSearch
    from cerebro_nas.worker import CandidateSpec


@dataclass(frozen=True)
class Case:
    """One random search."""

    seed: int
    workers: int
    shards: int
    valid: int
    trials: int
    epochs: int
    parallelism: int


CASES = st.builds(
    Case,
    seed=st.integers(0, 10**6),
    workers=st.integers(1, 5),
    shards=st.integers(1, 8),
    valid=st.integers(0, 3),
    trials=st.integers(1, 12),
    epochs=st.integers(1, 3),
    parallelism=st.integers(1, 10),
)


def simulate(
    case: Case,
    faults: Sequence[Fault] = (),
    sigma: float = 0.7,
    nbytes_per_row: int = 10_000,
    checkpoint: bool = True,
    deaths: int = 2,
    order: VisitOrder = "adaptive",
) -> tuple[Hopper, SimulatedSearch]:
    draw = random.Random(case.seed)
    search = shard_search([1000] * case.shards, [200] * case.valid, bytes_per_row=nbytes_per_row, checkpoint=checkpoint)
    rates = {f"t{i}": 1e-3 * draw.lognormvariate(0, sigma) for i in range(case.trials)}
    shards = [
        ShardInfo(Shard("train" if s.split == "train" else "valid", s.index), s.rows, s.nbytes) for s in search.shards
    ]
    rows = {info.shard: info.rows for info in shards}

    def seconds(unit: Unit, spec: CandidateSpec) -> float:
        share = 0.3 if unit.phase == "evaluate" else 1.0
        return rates[spec.trial] * share * (rows[unit.shard] if unit.shard is not None else 1)

    plans = [TrialPlan(t, case.epochs, rate * draw.lognormvariate(0, 0.2)) for t, rate in rates.items()]
    hopper = Hopper(
        shards,
        num_workers=case.workers,
        parallelism=case.parallelism,
        seed=case.seed,
        max_worker_deaths_per_trial=deaths,
        visit_order=order,
    )
    backend = SimulatedBackend(case.workers, seconds=seconds, faults=faults, seed=case.seed, store_seconds=0.5)
    return hopper, run_search(hopper, backend, search, plans)


def overlaps(log: Sequence[ScheduleEntry], by_trial: bool) -> list[tuple[ScheduleEntry, ScheduleEntry]]:
    groups: dict[str, list[ScheduleEntry]] = defaultdict(list)
    for entry in log:
        groups[entry.unit.trial if by_trial else entry.worker].append(entry)
    found = []
    for entries in groups.values():
        entries.sort(key=lambda e: (e.started, e.finished))
        found += [(a, b) for a, b in zip(entries, entries[1:], strict=False) if b.started < a.finished - 1e-9]
    return found


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_every_unit_is_committed_exactly_once(case: Case) -> None:
    hopper, result = simulate(case)
    done = Counter((e.unit.trial, e.unit.epoch, e.unit.shard) for e in hopper.log if e.outcome == "done")
    shards = [Shard("train", i) for i in range(case.shards)] + [Shard("valid", i) for i in range(case.valid)]
    expected = {(f"t{i}", e, s) for i in range(case.trials) for e in range(case.epochs) for s in shards}
    assert set(done) == expected
    assert set(done.values()) == {1}
    assert [(e.trial, e.epoch) for e in result.epochs if e.trial == "t0"] == [("t0", e) for e in range(case.epochs)]
    assert {t.status for t in result.trials.values()} == {TrialStatus.COMPLETED}


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_workers_and_models_are_exclusive(case: Case) -> None:
    hopper, _ = simulate(case)
    assert overlaps(hopper.log, by_trial=True) == []
    assert overlaps(hopper.log, by_trial=False) == []


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_training_comes_before_evaluation_within_an_epoch(case: Case) -> None:
    hopper, _ = simulate(case)
    order: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    for entry in hopper.log:
        order[entry.unit.trial].append((entry.unit.epoch, entry.unit.phase == "evaluate"))
    assert all(visits == sorted(visits) for visits in order.values())


@settings(max_examples=30, deadline=None)
@given(CASES)
def test_a_seed_determines_everything(case: Case) -> None:
    faults = [Kill("w0", 1.3, back_after=0.4)]
    first, second = simulate(case, faults), simulate(case, faults)
    assert first[1].commands == second[1].commands
    assert first[0].log == second[0].log


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_asks_never_exceed_parallelism(case: Case) -> None:
    _, result = simulate(case)
    live = 0
    for command in result.commands:
        if isinstance(command, AskTrials):
            live += command.count
            assert live <= case.parallelism
        elif isinstance(command, TrialFinished):
            live -= 1


@settings(max_examples=80, deadline=None)
@given(CASES, st.data(), st.booleans())
def test_losses_and_failures_end_in_a_consistent_search(case: Case, data: st.DataObject, checkpoint: bool) -> None:
    names = st.sampled_from([f"w{i}" for i in range(case.workers)])
    times = st.floats(0.1, 20.0)
    kills = data.draw(st.lists(st.builds(Kill, names, times, st.floats(0.0, 3.0)), max_size=6))
    fails = data.draw(st.lists(st.builds(FailUnit, worker=names, times=st.just(1)), max_size=2, unique=True))
    hopper, result = simulate(case, [*kills, *fails], checkpoint=checkpoint, deaths=100)
    assert {t.status for t in result.trials.values()} <= {TrialStatus.COMPLETED}
    assert len(result.trials) == case.trials
    assert overlaps(hopper.log, by_trial=True) == []
    check_lineage(case, result, hopper)


def check_lineage(case: Case, result: SimulatedSearch, hopper: Hopper) -> None:
    """Follow each trial's commits by the generations its units started from: each epoch holds each shard once."""
    starts = {c.unit: c for c in result.commands if isinstance(c, RunUnit)}
    visits: dict[str, list[tuple[int, Shard | None]]] = defaultdict(list)
    for entry in hopper.log:
        run = starts[entry.unit]
        if entry.outcome == "done" and entry.unit.phase == "train":
            history = visits[entry.unit.trial]
            assert run.state.generation <= len(history)
            del history[run.state.generation :]
            history.append((entry.unit.epoch, entry.unit.shard))
    shards = [Shard("train", i) for i in range(case.shards)]
    for history in visits.values():
        assert sorted(history) == [(e, s) for e in range(case.epochs) for s in shards]


@settings(max_examples=30, deadline=None)
@given(CASES)
def test_a_search_goes_on_with_one_worker_left(case: Case) -> None:
    kills = [Kill(f"w{i}", 0.5 + i) for i in range(1, case.workers)]
    hopper, result = simulate(case, kills, checkpoint=False, deaths=100)
    assert {t.status for t in result.trials.values()} == {TrialStatus.COMPLETED}
    check_lineage(case, result, hopper)


@pytest.mark.parametrize(("trials", "largest"), [(8, 1.10), (16, 1.05), (32, 1.02)])
def test_makespan_is_near_the_lower_bound_without_fetching(trials: int, largest: float) -> None:
    ratios = []
    for seed in range(15):
        case = Case(seed, workers=4, shards=4, valid=0, trials=trials, epochs=1, parallelism=trials)
        hopper, result = simulate(case, nbytes_per_row=10)
        work: dict[str, float] = defaultdict(float)
        for entry in hopper.log:
            work[entry.unit.trial] += entry.busy_seconds
        # No schedule beats these, whatever runs where.
        bound = max(sum(work.values()) / 4, *work.values())
        ratios.append((result.ended - result.started) / bound)
    # Observed over 40 seeds: at most 1.040, 1.033 and 1.009; means 1.010, 1.010 and 1.004.
    assert max(ratios) <= largest
    assert sum(ratios) / len(ratios) <= 1.02


@settings(max_examples=60, deadline=None)
@given(CASES, st.booleans())
def test_no_worker_idles_while_a_trial_waits(case: Case, fixed: bool) -> None:
    hopper, result = simulate(case, nbytes_per_row=1, order="fixed" if fixed else "adaptive")
    work: dict[str, float] = defaultdict(float)
    for entry in hopper.log:
        work[entry.unit.trial] += entry.finished - entry.started
    # Graham's bound for any order without idling: while the last trial waits, all others work. Before the first unit
    # is measured no shard is fetched, so that may take a unit longer.
    busy = min(case.workers, case.parallelism)
    longest_unit = max(entry.finished - entry.started for entry in hopper.log)
    assert result.ended - result.started <= sum(work.values()) / busy + max(work.values()) + longest_unit + 1e-6


@settings(max_examples=60, deadline=None)
@given(CASES, st.booleans(), st.lists(st.builds(Kill, st.just("w0"), st.floats(0.1, 20), st.just(0.1)), max_size=2))
def test_no_trial_is_passed_over_for_ever(case: Case, fixed: bool, kills: list[Kill]) -> None:
    hopper, _ = simulate(case, kills, nbytes_per_row=1, order="fixed" if fixed else "adaptive")
    longest = max(entry.finished - entry.started for entry in hopper.log)
    rounds = max(1.0, case.parallelism / case.workers)
    free: dict[str, float] = {}
    for entry in sorted(hopper.log, key=lambda e: e.started):
        waited = entry.started - free.get(entry.unit.trial, entry.started)
        # Twice the patience of four rounds frees any worker, for those that wait longest at first: another round.
        assert waited <= (2 * 4 + 1) * rounds * longest + 3 * longest
        free[entry.unit.trial] = entry.finished


@pytest.mark.parametrize("seed", range(3))
def test_a_stream_of_trials_keeps_workers_busy_to_its_end(seed: int) -> None:
    case = Case(seed, workers=4, shards=4, valid=1, trials=48, epochs=1, parallelism=16)
    hopper, result = simulate(case, sigma=1.0, nbytes_per_row=10)
    busy = sum(entry.busy_seconds for entry in hopper.log)
    # Longest first alone reaches 0.95, 1.00 and 0.87: the short ones wait, and the last trials come too late.
    assert busy >= 0.95 * 4 * (result.ended - result.started)


@pytest.mark.parametrize("seed", range(4))
def test_no_trial_starves(seed: int) -> None:
    case = Case(seed, workers=3, shards=3, valid=1, trials=150, epochs=2, parallelism=6)
    hopper, _ = simulate(case, sigma=0.3, nbytes_per_row=10**7)
    longest = max(e.busy_seconds for e in hopper.log if e.unit.phase == "train")
    free: dict[str, float] = {}
    waits = []
    for entry in sorted(hopper.log, key=lambda e: e.started):
        waits.append(entry.started - free.get(entry.unit.trial, entry.started))
        free[entry.unit.trial] = entry.finished
    # Patience is four rounds of the longest unit, a round is parallelism / workers units; twice that frees any worker.
    # Without patience seed 2 breaks this: some trial waits for 24 of the longest unit.
    assert max(waits) <= 2 * 4 * 2 * longest + 3 * longest


def test_a_late_worker_is_used() -> None:
    case = Case(1, workers=3, shards=3, valid=1, trials=12, epochs=2, parallelism=12)
    hopper, _ = simulate(case, [JoinLate("w2", 3.0)])
    units = Counter(e.worker for e in hopper.log)
    assert min(units.values()) > 0.15 * sum(units.values())
    assert len(units) == 3
