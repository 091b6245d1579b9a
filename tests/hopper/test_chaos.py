"""Whatever goes wrong: random fault schedules on the simulated cluster, and what must hold after each."""

from __future__ import annotations

import random
import zlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend.simulated import FAULTS
from cerebro_nas.backend.simulated import CorruptState
from cerebro_nas.backend.simulated import FailStore
from cerebro_nas.backend.simulated import FailUnit
from cerebro_nas.backend.simulated import Fault
from cerebro_nas.backend.simulated import Freeze
from cerebro_nas.backend.simulated import Hang
from cerebro_nas.backend.simulated import JoinLate
from cerebro_nas.backend.simulated import Kill
from cerebro_nas.backend.simulated import SimulatedStore
from cerebro_nas.hopper import Command
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import RunUnit
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import TrialAdded
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import TrialStatus
from cerebro_nas.hopper import VisitOrder
from cerebro_nas.hopper import WorkerExcluded
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.testing import fault_plans
from cerebro_nas.testing import run_search
from cerebro_nas.testing import shard_search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cerebro_nas.hopper import ScheduleEntry
    from cerebro_nas.hopper import Unit
    from cerebro_nas.testing import SimulatedSearch
    from cerebro_nas.worker import CandidateSpec

WORKERS, TRIALS = 3, 4
FEW, MANY = settings(max_examples=200), settings(max_examples=1000)


@dataclass(frozen=True)
class Case:
    """One search: three workers and four trials, small enough that a few faults strike where it hurts."""

    seed: int = 0
    shards: int = 3
    valid: int = 1
    epochs: int = 2
    parallelism: int = 3
    order: VisitOrder = "fixed"
    checkpoint: bool = True

    def hopper(self) -> Hopper:
        infos = [ShardInfo(Shard("train", i), 1000, 10**6) for i in range(self.shards)]
        infos += [ShardInfo(Shard("valid", i), 200, 10**5) for i in range(self.valid)]
        return Hopper(
            infos,
            num_workers=WORKERS,
            parallelism=self.parallelism,
            seed=self.seed,
            visit_order=self.order,
            # A search of half a minute: what waits are measured by shall fit it.
            cool_down=5.0,
            first_timeout=60.0,
            min_timeout=20.0,
        )

    def plans(self) -> list[TrialPlan]:
        draw = random.Random(self.seed)
        return [TrialPlan(f"t{i}", self.epochs, draw.lognormvariate(0, 0.5)) for i in range(TRIALS)]

    def backend(self, faults: Sequence[Fault] = (), store: SimulatedStore | None = None) -> SimulatedBackend:
        return SimulatedBackend(
            WORKERS, seconds=seconds, metrics=metrics, faults=faults, store=store, seed=self.seed, store_seconds=0.1
        )

    def run(self, hopper: Hopper, backend: SimulatedBackend, plans: Sequence[TrialPlan]) -> SimulatedSearch:
        search = shard_search([1000] * self.shards, [200] * self.valid, bytes_per_row=1000, checkpoint=self.checkpoint)
        return run_search(hopper, backend, search, plans, max_seconds=3000)


def seconds(unit: Unit, spec: CandidateSpec) -> float:
    return (1.0 + 0.5 * int(spec.trial[1:])) * (0.2 if unit.phase == "evaluate" else 1.0)


def metrics(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
    """Figures that sum up differently in every order."""
    visit = f"{spec.trial} {unit.phase} {unit.epoch} {unit.shard}"
    return {"loss": 1.0 / (3.0 + zlib.crc32(visit.encode()) % 1e6)}


CASES = st.builds(
    Case,
    seed=st.integers(0, 1000),
    shards=st.integers(1, 5),
    valid=st.integers(0, 2),
    epochs=st.integers(1, 3),
    parallelism=st.integers(1, 5),
    order=st.sampled_from(["adaptive", "fixed"]),
    checkpoint=st.booleans(),
)

NAMES = st.sampled_from([f"w{i}" for i in range(WORKERS)])
LASTING: st.SearchStrategy[list[Fault]] = st.one_of(
    # One of three workers stays; a trial kills all it comes to; a worker fails all that comes to it; no store at all.
    st.lists(st.builds(Kill, st.sampled_from(["w1", "w2"]), st.floats(0, 20)), max_size=2),
    st.just([Kill(trial="t0", times=99, back_after=0.5)]),
    st.builds(lambda w: [Kill(worker=w, times=99, back_after=0.5)], NAMES),
    st.builds(
        lambda w, reason: [FailUnit(worker=w, reason=reason, times=99)], NAMES, st.sampled_from(["error", "oom"])
    ),
    st.builds(lambda on: [FailStore(on=on, times=999)], st.sampled_from(["read", "write"])),
    st.just([CorruptState(times=999)]),
    st.builds(lambda w, at: [JoinLate(w, at)], NAMES, st.floats(0, 20)),
)
# Without `Freeze` beside `Hang`: in the simulator, a process that goes on again is not told from a thread that does.
KINDS = st.sampled_from([[kind for kind in FAULTS if kind is not left_out] for left_out in (Freeze, Hang)])
PASSING = KINDS.flatmap(
    lambda kinds: fault_plans(WORKERS, [f"t{i}" for i in range(TRIALS)], most=5, seconds=4.0, kinds=kinds)
)
SCHEDULES = st.builds(lambda lasting, plan: [*lasting, *plan.faults], LASTING, PASSING)


# --- what must hold ---------------------------------------------------------------------------------------------------


def check_schedule(case: Case, faults: Sequence[Fault]) -> None:
    hopper = case.hopper()
    result = case.run(hopper, case.backend(faults), case.plans())
    assert set(result.trials) == {plan.trial for plan in case.plans()}  # it ends, and so does each trial
    check_exclusive(hopper.log)
    check_lineage(case, result, hopper)
    check_never_idle(hopper, faults, check_replay(case, result, hopper))
    if case.order == "fixed":
        check_metrics(case, result)


def check_exclusive(log: Sequence[ScheduleEntry]) -> None:
    groups: dict[str, list[ScheduleEntry]] = defaultdict(list)
    for entry in log:
        groups[f"trial {entry.unit.trial}"].append(entry)
        groups[f"worker {entry.worker}"].append(entry)
    for entries in groups.values():
        entries.sort(key=lambda e: (e.started, e.finished))
        for first, second in zip(entries, entries[1:], strict=False):
            assert second.started >= first.finished


def check_lineage(case: Case, result: SimulatedSearch, hopper: Hopper) -> None:
    """Follow each trial's commits by the generations they started from: in what is left each visit is there once."""
    starts = {c.unit: c.state.generation for c in result.commands if isinstance(c, RunUnit)}
    visits: dict[str, list[tuple[int, Unit]]] = defaultdict(list)
    for entry in hopper.log:
        if entry.outcome == "done":
            generation, history = starts[entry.unit], visits[entry.unit.trial]
            made = generation + (entry.unit.phase == "train")
            history[:] = [(g, unit) for g, unit in history if g <= generation]
            assert made <= 1 + max((g for g, _ in history), default=0)
            history.append((made, entry.unit))
    shards = [Shard("train", i) for i in range(case.shards)] + [Shard("valid", i) for i in range(case.valid)]
    expected = sorted((e, s) for e in range(case.epochs) for s in shards)
    for trial, ended in result.trials.items():
        if ended.status is TrialStatus.COMPLETED:
            assert sorted((unit.epoch, unit.shard) for _, unit in visits[trial] if unit.shard) == expected
            for generation, unit in visits[trial]:
                last = case.shards * (unit.epoch + 1)
                assert generation == last if unit.phase == "evaluate" else last - case.shards < generation <= last


def check_never_idle(hopper: Hopper, faults: Sequence[Fault], excluded: float) -> None:
    """Bound the makespan: some worker runs some unit, but for the time that none can be used."""
    waits = 1.0 + sum(getattr(fault, "back_after", None) or 0.0 for fault in faults)
    waits += sum(fault.at for fault in faults if isinstance(fault, JoinLate))
    now, spans = 0.0, sorted((e.started, e.finished) for e in hopper.log)
    idle = 0.0
    for started, finished in spans:
        idle += max(0.0, started - now)
        now = max(now, finished)
    lives = max((getattr(fault, "times", 1) for fault in faults), default=1)
    assert idle <= waits * lives + excluded + 1e-6


def check_replay(case: Case, result: SimulatedSearch, hopper: Hopper) -> float:
    """A hopper that launches what another one polls stands, after each input, where that one stands.

    Returns:
        Seconds for which workers were excluded, all together.
    """
    excluded = 0.0
    polled, launched = case.hopper(), case.hopper()
    said: list[Command] = []
    waiting: list[Command] = []
    for now, item in result.inputs:
        if isinstance(item, RunUnit):
            waiting = waiting or polled.poll(now)
            assert waiting.pop(0) == item == launched.launch(item.worker, item.unit, now)
            said.append(item)
        else:
            assert not waiting
            commands = launched.handle(item, now)
            assert str(commands) == str(polled.handle(item, now))  # NaN is not equal to itself
            said += commands
            excluded += sum(command.until - now for command in commands if isinstance(command, WorkerExcluded))
        if not waiting:
            assert launched.snapshot() == polled.snapshot()
    assert str(said) == str(result.commands)
    assert launched.log == polled.log == hopper.log
    return excluded


def figures(case: Case) -> dict[tuple[str, int], dict[str, float]]:
    """What a search reports where nothing goes wrong."""
    return {(e.trial, e.epoch): e.metrics for e in case.run(case.hopper(), case.backend(), case.plans()).epochs}


def check_metrics(case: Case, result: SimulatedSearch) -> None:
    """Each epoch's figures are what they are where nothing goes wrong, to the last bit."""
    expected = figures(case)
    for epoch in result.epochs:
        found = epoch.metrics
        assert all(value != value or value == expected[epoch.trial, epoch.epoch][name] for name, value in found.items())


@FEW
@given(CASES, SCHEDULES)
@pytest.mark.case(1, 2, 4, 5, 12, 16, 19, 21)
def test_any_schedule_of_faults_ends_in_a_consistent_search(case: Case, faults: list[Fault]) -> None:
    check_schedule(case, faults)


@pytest.mark.chaos
@MANY
@given(CASES, SCHEDULES)
@pytest.mark.case(1, 2, 4, 5, 12, 16, 19, 21)
def test_a_thousand_schedules_of_faults_end_in_a_consistent_search(case: Case, faults: list[Fault]) -> None:
    check_schedule(case, faults)


@settings(max_examples=100)
@given(CASES, SCHEDULES, st.data())
@pytest.mark.case(9)
def test_a_driver_that_dies_at_any_input_goes_on_from_its_record(
    case: Case, faults: list[Fault], data: st.DataObject
) -> None:
    store = SimulatedStore()
    inputs = case.run(case.hopper(), case.backend(faults, store), case.plans()).inputs
    before = inputs[: data.draw(st.integers(0, len(inputs)), label="inputs before it dies")]
    hopper, backend, added, now = case.hopper(), case.backend(store=store), set(), 0.0
    for now, item in before:
        if isinstance(item, RunUnit):
            hopper.launch(item.worker, item.unit, now)
        else:
            hopper.handle(item, now)
            added |= {item.plan.trial} if isinstance(item, TrialAdded) else set()
    for worker in hopper.snapshot().workers:
        hopper.handle(WorkerLost(worker.worker, "its driver died", planned=True), now)
    backend.events(timeout=now)
    ended = sum(hopper.snapshot().finished.values())
    result = case.run(hopper, backend, [plan for plan in case.plans() if plan.trial not in added])
    assert len(result.trials) == TRIALS - ended
    assert {trial.status for trial in result.trials.values()} <= {TrialStatus.COMPLETED}
    if case.order == "fixed":
        expected = figures(case)
        for epoch in result.epochs:
            # Of an epoch that had begun before, visits may be kept whose figures were spoilt.
            known = epoch.metrics.items()
            assert all(value != value or value == expected[epoch.trial, epoch.epoch][name] for name, value in known)
