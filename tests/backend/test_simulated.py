"""The simulated backend keeps the backends' contract, and its clock, faults and stores behave."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING
from typing import Any

import pytest

from cerebro_nas.backend import DropCommand
from cerebro_nas.backend import RunCommand
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend.simulated import CorruptState
from cerebro_nas.backend.simulated import Delay
from cerebro_nas.backend.simulated import FailStore
from cerebro_nas.backend.simulated import FailUnit
from cerebro_nas.backend.simulated import FillDisk
from cerebro_nas.backend.simulated import Freeze
from cerebro_nas.backend.simulated import Hang
from cerebro_nas.backend.simulated import JoinLate
from cerebro_nas.backend.simulated import Kill
from cerebro_nas.backend.simulated import NotANumber
from cerebro_nas.backend.simulated import OutOfMemory
from cerebro_nas.backend.simulated import SimulatedStore
from cerebro_nas.backend.simulated import SlowStore
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import WorkerLostError
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.testing import BackendContract
from cerebro_nas.testing import run_search
from cerebro_nas.testing import shard_search
from cerebro_nas.worker import CandidateSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cerebro_nas.backend import BackendEvent
    from cerebro_nas.backend.simulated import Fault
    from cerebro_nas.worker import SearchSpec

SPEC = CandidateSpec("a", model="", optimizer={}, loss=(), metrics=())


def run(trial: str, index: int, state: StateRef) -> RunCommand:
    return RunCommand(Unit(trial, "train", 0, Shard("train", index)), state, SPEC)


class TestContract(BackendContract):
    def make_backend(self, num_workers: int) -> SimulatedBackend:
        return SimulatedBackend(num_workers, faults=[FailUnit("broken", trial_fault=True)])

    def make_search(self, tmp_path: Path) -> tuple[SearchSpec, CandidateSpec]:
        return shard_search([64, 64], [64]), SPEC


def test_the_clock_jumps_to_events_and_not_beyond_the_timeout() -> None:
    backend = SimulatedBackend(2, seconds=lambda unit, spec: 5.0, faults=[JoinLate("w1", 2.0)])
    backend.start(shard_search([100], bytes_per_row=100, checkpoint=False))
    assert backend.events(1.0) == [WorkerJoined("w0")]
    backend.submit("w0", run("a", 0, StateRef(0)))
    assert backend.events(1.0) == []
    assert backend.now() == 1.0
    assert backend.events(10.0) == [WorkerJoined("w1")]
    assert backend.now() == 2.0
    (done,) = backend.events(10.0)
    assert isinstance(done, UnitDone)
    assert backend.now() == pytest.approx(5.0, abs=1e-3)
    assert done.report.busy_seconds == 5.0
    assert done.report.seconds > 5.0  # the shard was fetched first


def test_a_killed_worker_forgets_and_returns_with_a_new_attempt() -> None:
    backend = SimulatedBackend(1, seconds=lambda u, s: 1.0, faults=[Kill("w0", 0.5, back_after=1.0)])
    backend.start(shard_search([10]))
    backend.events(1.0)
    backend.submit("w0", run("a", 0, StateRef(0)))
    assert backend.events(10.0) == [WorkerLost("w0", "killed")]
    backend.submit("w0", run("a", 0, StateRef(0)))
    assert backend.events(10.0) == [WorkerJoined("w0", 1)]
    assert backend.events(10.0) == []


def test_a_state_is_found_at_its_holder_then_in_the_store_then_nowhere() -> None:
    backend = SimulatedBackend(2, hop_seconds=1.0, seconds=lambda u, s: 1.0, store_seconds=0.25)
    backend.start(shard_search([10, 10], bytes_per_row=0))
    backend.events(1.0)
    backend.submit("w0", run("a", 0, StateRef(0)))
    assert [type(e) for e in backend.events(5.0)] == [UnitDone]
    (stored,) = backend.events(5.0)
    assert isinstance(stored, StateStored)
    assert (stored.trial, stored.generation) == ("a", 1)
    backend.submit("w1", run("a", 1, StateRef(1, "w0")))
    (hopped,) = backend.events(5.0)
    assert isinstance(hopped, UnitDone)
    assert (hopped.report.seconds, hopped.report.busy_seconds) == (2.0, 1.0)
    backend.events(5.0)
    backend.submit("w0", DropCommand("a"))
    backend.submit("w1", DropCommand("a"))
    backend.submit("w0", run("a", 1, StateRef(1, "w0", stored=stored.name)))
    assert isinstance(backend.events(5.0)[0], UnitDone)
    backend.submit("w1", run("a", 1, StateRef(1, "w1")))
    failed = [e for e in backend.events(5.0) if isinstance(e, UnitFailed)]
    assert [e.reason for e in failed] == ["state_missing"]


def test_when_every_worker_is_gone_for_good_it_says_so() -> None:
    backend = SimulatedBackend(1, faults=[Kill("w0", 1.0)])
    backend.start(shard_search([10]))
    assert backend.events(1.0) == [WorkerJoined("w0")]
    assert backend.events(1.0) == [WorkerLost("w0", "killed")]
    with pytest.raises(WorkerLostError, match="none comes back"):
        backend.events(1.0)


def test_misuse_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_workers=0"):
        SimulatedBackend(0)
    with pytest.raises(ConfigError, match="w7"):
        SimulatedBackend(2, faults=[Kill("w7", 1.0)])
    backend = SimulatedBackend(1)
    with pytest.raises(BackendError, match="start"):
        backend.submit("w0", DropCommand("a"))
    backend.start(shard_search([1]))
    with pytest.raises(BackendError, match="Call stop"):
        backend.start(shard_search([1]))


# --- the store --------------------------------------------------------------------------------------------------------


def _trained(backend: SimulatedBackend, generation: int = 0) -> list[BackendEvent]:
    """What comes of training once on w0, up to ten seconds later."""
    backend.submit("w0", run("a", 0, StateRef(generation, "w0")))
    return [event for _ in range(4) for event in backend.events(2.5)]


def _begun(faults: Sequence[Fault] = (), store: SimulatedStore | None = None, workers: int = 1) -> SimulatedBackend:
    backend = SimulatedBackend(workers, seconds=lambda u, s: 1.0, store_seconds=0.25, faults=faults, store=store)
    backend.start(shard_search([10], bytes_per_row=0))
    assert len(backend.events(0.1)) == workers
    return backend


def _can_read(backend: SimulatedBackend, event: BackendEvent) -> bool:
    assert isinstance(event, StateStored)
    backend.submit("w0", DropCommand("a"))
    backend.submit("w0", run("a", 0, StateRef(event.generation, None, event.name)))
    outcome = next(e for _ in range(4) for e in backend.events(2.5) if isinstance(e, UnitDone | UnitFailed))
    if isinstance(outcome, UnitFailed):
        assert (outcome.reason, outcome.trial_fault) == ("state_missing", False)
    return isinstance(outcome, UnitDone)


def test_the_store_keeps_the_last_few_generations() -> None:
    backend = _begun()
    stored = [_trained(backend, generation)[1] for generation in range(6)]
    assert [isinstance(event, StateStored) and event.generation for event in stored] == [1, 2, 3, 4, 5, 6]
    assert [_can_read(backend, event) for event in (stored[0], stored[3], stored[5])] == [False, True, True]


def test_a_store_outlasts_its_backend() -> None:
    store = SimulatedStore()
    first = _begun(store=store)
    _, stored = _trained(first)
    first.stop()
    second = _begun(store=store)
    assert _can_read(second, stored)
    names = [event.name for event in (stored, *_trained(second)) if isinstance(event, StateStored)]
    assert len(set(names)) == len(names) >= 2  # no two writes share a name


@pytest.mark.case(12)
def test_a_damaged_state_is_told_and_then_missing() -> None:
    backend = _begun([CorruptState(nth=2)])
    events = [_trained(backend, generation)[1] for generation in range(3)]
    assert [_can_read(backend, event) for event in events] == [True, False, True]
    assert backend.struck() == (1,)


@pytest.mark.case(13, 14)
def test_a_full_or_broken_store_takes_and_gives_nothing() -> None:
    backend = _begun([FillDisk(), FailStore(nth=2), FailStore(on="read"), SlowStore(seconds=2.0, nth=3)])
    assert [[type(e) for e in _trained(backend, generation)] for generation in range(2)] == [[UnitDone], [UnitDone]]
    backend.submit("w0", run("a", 0, StateRef(2, "w0")))
    (done,) = backend.events(5.0)
    told = backend.now()
    (stored,) = backend.events(5.0)
    assert isinstance(done, UnitDone)
    assert backend.now() - told == pytest.approx(2.25)  # late
    assert [_can_read(backend, stored), _can_read(backend, stored)] == [False, True]


# --- faults of units and processes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "seconds", "kinds"),
    [
        ("before_unit", 0.0, [WorkerLost, WorkerJoined]),
        ("in_unit", 0.0, [WorkerLost, WorkerJoined]),
        ("after_unit", 1.0, [WorkerLost, WorkerJoined]),
        ("before_commit", 1.25, [StateStored, WorkerLost, WorkerJoined]),
        ("mid_write", 1.25, [UnitDone, WorkerLost, WorkerJoined]),
    ],
)
@pytest.mark.case(1, 2)
def test_a_worker_is_killed_where_the_plan_says(at: Any, seconds: float, kinds: list[type]) -> None:
    backend = _begun([Kill(at=at)])
    began = backend.now()
    backend.submit("w0", run("a", 0, StateRef(0)))
    events: list[BackendEvent] = []
    while WorkerLost not in map(type, events):
        events += backend.events(5.0)
    assert backend.now() - began == pytest.approx(seconds)
    events += backend.events(0.0)
    assert [type(event) for event in events] == kinds
    assert [type(event) for event in _trained(backend)] == [UnitDone, StateStored]


def test_a_kill_inside_a_unit_comes_in_time_and_the_worker_comes_back_late() -> None:
    backend = _begun([Kill(at="in_unit", after_seconds=0.75, back_after=3.0), Delay(0.5)])
    backend.submit("w0", run("a", 0, StateRef(0)))
    began = backend.now()
    for kind, seconds in ((WorkerLost, 0.75), (WorkerJoined, 3.75)):
        (event,) = backend.events(5.0)
        assert isinstance(event, kind)
        assert backend.now() - began == pytest.approx(seconds)


@pytest.mark.case(19)
def test_a_unit_that_hangs_ends_with_a_restart() -> None:
    backend = _begun([Hang()])
    assert backend.stalled_seconds("w0") is None
    backend.submit("w0", run("a", 0, StateRef(0)))
    assert backend.events(100.0) == []
    assert backend.stalled_seconds("w0") == pytest.approx(100.0)
    backend.restart("w0", "it hung")
    assert backend.events(1.0) == [WorkerLost("w0", "it hung")]
    assert backend.events(1.0) == [WorkerJoined("w0", 1)]
    assert backend.stalled_seconds("w0") is None
    backend.submit("w0", run("a", 0, StateRef(0)))
    assert backend.events(0.5) == []
    assert backend.stalled_seconds("w0") == 0.0
    assert [type(event) for event in backend.events(1.0)] == [UnitDone]


def test_only_a_worker_that_joined_can_be_restarted() -> None:
    backend = SimulatedBackend(2, faults=[JoinLate("w1", 5.0), Kill("w0", 1.0)])
    with pytest.raises(BackendError, match="has joined"):
        backend.restart("w0", "why not")
    backend.start(shard_search([10]))
    backend.events(0.5)
    with pytest.raises(BackendError, match="worker='w1'"):
        backend.restart("w1", "why not")
    assert backend.events(1.0) == [WorkerLost("w0", "killed")]
    backend.restart("w0", "it is lost already")
    assert backend.events(1.0) == []


@pytest.mark.case(3)
def test_a_worker_that_thaws_too_late_reports_what_nobody_waits_for() -> None:
    backend = _begun([Freeze(60.0)])
    backend.submit("w0", run("a", 0, StateRef(0)))
    assert backend.events(20.0) == [WorkerLost("w0", "not heard of for 15 s"), WorkerJoined("w0", 1)]
    again = Unit("a", "train", 0, Shard("train", 0), attempt=1)
    backend.submit("w0", RunCommand(again, StateRef(0), SPEC))
    late = [event for _ in range(10) for event in backend.events(10.0)]
    units = [event.unit.attempt for event in late if isinstance(event, UnitDone | StateStored)]
    assert units == [1, 1, 0, 0]
    assert len({event.name for event in late if isinstance(event, StateStored)}) == 2


@pytest.mark.case(3)
def test_the_scheduler_ignores_a_worker_that_thaws_too_late() -> None:
    backend = SimulatedBackend(2, faults=[Freeze(40.0, trial="a", nth=2)], seconds=lambda u, s: 1.0)
    shards = [ShardInfo(Shard("train", index), 10, 10) for index in range(2)]
    hopper = Hopper(shards, num_workers=2)
    result = run_search(hopper, backend, shard_search([10, 10]), [TrialPlan("a", 30), TrialPlan("b", 30)])
    done = Counter((e.unit.trial, e.unit.epoch, e.unit.shard) for e in hopper.log if e.outcome == "done")
    assert backend.struck() == (1,)
    assert hopper.ignored >= 1
    assert {trial.status.value for trial in result.trials.values()} == {"COMPLETED"}
    assert len(done) == 2 * 30 * 2


def test_a_short_standstill_is_only_a_delay() -> None:
    backend = _begun([Freeze(10.0), Delay(2.0, at="after_unit", nth=2)])
    for seconds in (11.0, 3.0, 1.0):
        began = backend.now()
        backend.submit("w0", run("a", 0, StateRef(0)))
        while not [e for e in backend.events(20.0) if isinstance(e, UnitDone)]:
            pass
        assert backend.now() - began == pytest.approx(seconds)


@pytest.mark.case(16)
def test_a_worker_that_runs_out_of_memory_comes_back_fresh() -> None:
    backend = _begun([OutOfMemory()])
    failed, lost, joined = _trained(backend)
    assert isinstance(failed, UnitFailed)
    assert (failed.reason, failed.trial_fault) == ("oom", False)
    assert lost == WorkerLost("w0", "it ran out of memory", planned=True)
    assert joined == WorkerJoined("w0", 1)


@pytest.mark.case(15)
def test_metrics_that_are_no_numbers() -> None:
    backend = _begun([NotANumber(), NotANumber("loss", nth=2)])
    metrics = [e.report.metrics for _ in range(3) for e in _trained(backend) if isinstance(e, UnitDone)]
    assert [sorted(k for k, v in m.items() if math.isnan(v)) for m in metrics] == [["accuracy", "loss"], ["loss"], []]


@pytest.mark.case(5)
def test_work_moves_away_from_a_bad_worker() -> None:
    backend = SimulatedBackend(2, faults=[FailUnit(worker="w1", times=1000)], seconds=lambda u, s: 1.0)
    shards = [ShardInfo(Shard("train", index), 10, 10) for index in range(2)]
    hopper = Hopper(shards, num_workers=2)
    plans = [TrialPlan(name, 3) for name in "abcd"]
    result = run_search(hopper, backend, shard_search([10, 10]), plans)
    assert {trial.status.value for trial in result.trials.values()} == {"COMPLETED"}
    assert {entry.worker for entry in hopper.log if entry.outcome == "done"} == {"w0"}


def test_what_has_struck_is_counted_until_the_next_start() -> None:
    backend = _begun([FailUnit(times=3), Kill("w0", 2.5, back_after=0.1), JoinLate("w0", 0.05), Delay(trial="none")])
    backend.submit("w0", run("a", 0, StateRef(0)))
    backend.submit("w0", run("a", 0, StateRef(0)))
    while backend.now() < 3.0:
        backend.events(0.5)
    assert backend.struck() == (2, 1, 1, 0)
    backend.stop()
    assert backend.struck() == (2, 1, 1, 0)
    backend.start(shard_search([10]))
    assert backend.struck() == (0, 0, 1, 0)
