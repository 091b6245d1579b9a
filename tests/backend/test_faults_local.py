"""Every fault of a plan strikes real worker processes, and a search gets over it."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pytest

from cerebro_nas.backend import DropCommand
from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import RunCommand
from cerebro_nas.errors import StoreError
from cerebro_nas.errors import WorkerLostError
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import TrialStatus
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.storage import StateFiles
from cerebro_nas.testing import CorruptState
from cerebro_nas.testing import Delay
from cerebro_nas.testing import FailStore
from cerebro_nas.testing import FailUnit
from cerebro_nas.testing import Fault
from cerebro_nas.testing import FaultPlan
from cerebro_nas.testing import FillDisk
from cerebro_nas.testing import Freeze
from cerebro_nas.testing import Hang
from cerebro_nas.testing import JoinLate
from cerebro_nas.testing import Kill
from cerebro_nas.testing import NotANumber
from cerebro_nas.testing import OutOfMemory
from cerebro_nas.testing import SlowStore
from cerebro_nas.testing import run_search
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import ShardSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cerebro_nas.backend import BackendEvent
    from cerebro_nas.testing import SimulatedSearch

HERE = Path(__file__).parent
SHARDS = (ShardSpec("train", 0, "a", 8, 8), ShardSpec("train", 1, "b", 8, 8), ShardSpec("valid", 0, "c", 8, 8))
EPOCHS = 2


class FakeEngineBackend(LocalBackend):
    engine = "fake_engine:Engine"
    stop_seconds = 5.0

    def _paths(self) -> tuple[str, ...]:
        return (*super()._paths(), str(HERE))


def _search_spec(tmp_path: Path) -> SearchSpec:
    return SearchSpec("data", str(tmp_path / "states"), SHARDS, (), (), (), seed=0, batch_size=1)


def _search(tmp_path: Path, plan: FaultPlan, workers: int = 2) -> tuple[SimulatedSearch, Hopper, tuple[int, ...]]:
    backend = plan.on(FakeEngineBackend(workers))
    shards = [ShardInfo(Shard(s.split, s.index), s.rows, s.nbytes) for s in SHARDS]  # type: ignore[arg-type]
    hopper = Hopper(shards, num_workers=workers)
    plans = [TrialPlan(f"t{index}", EPOCHS) for index in range(2)]
    for trial in plans:
        StateFiles(str(tmp_path / "states")).write_spec(trial.trial, "{}")
    result = run_search(hopper, backend, _search_spec(tmp_path), plans, max_seconds=60)
    return result, hopper, plan.struck(backend)


def _losses(result: SimulatedSearch) -> dict[str, list[tuple[float, float]]]:
    """Of each trial the epochs' losses; one that is redone replaces what was reported before."""
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for epoch in result.epochs:
        losses = epoch.metrics["loss"], epoch.metrics["val_loss"]
        found.setdefault(epoch.trial, {})[epoch.epoch] = losses
    return {trial: [epochs[index] for index in sorted(epochs)] for trial, epochs in found.items()}


def _loss(*generations: int) -> float:
    """What the fake engine reports is how often a state was trained: a unit lost or done twice would show."""
    rows = [8 + generation for generation in generations]
    return sum(g * r for g, r in zip(generations, rows, strict=True)) / sum(rows)


EXPECTED = {f"t{i}": [(_loss(2 * e, 2 * e + 1), _loss(2 * e + 2)) for e in range(EPOCHS)] for i in range(2)}
FIRST: dict[str, Any] = {"trial": "t0", "phase": "train"}


@pytest.mark.parametrize(
    "faults",
    [
        [Kill(at="before_unit", **FIRST)],
        [Kill(at="in_unit", **FIRST, nth=2)],
        [Kill(at="after_unit", **FIRST)],
        [Kill(at="before_commit", **FIRST, nth=2)],
        [Kill(at="mid_write", **FIRST, nth=2)],
        [Kill(at="in_unit", phase="evaluate", back_after=0.3)],
        [Kill("w0", 0.2, back_after=0.1)],
        [OutOfMemory(**FIRST, nth=2)],
    ],
    ids=lambda faults: f"{type(faults[0]).__name__}-{getattr(faults[0], 'at', '')}",
)
@pytest.mark.chaos
@pytest.mark.case(1, 2, 16)
def test_a_search_survives_the_end_of_a_process(tmp_path: Path, faults: list[Fault]) -> None:
    plan = FaultPlan([*faults, Delay(seconds=0.1, times=30)])
    result, hopper, struck = _search(tmp_path, plan)
    assert struck[0] == 1
    assert {t.status for t in result.trials.values()} == {TrialStatus.COMPLETED}
    assert _losses(result) == EXPECTED


@pytest.mark.chaos
@pytest.mark.case(12, 13, 14)
def test_a_search_survives_its_store(tmp_path: Path) -> None:
    plan = FaultPlan(
        [
            FailUnit("t1", phase="train"),
            FillDisk(times=2),
            FailStore(on="write", trial="t1", nth=2, errno=13),
            FailStore(on="read"),
            SlowStore(seconds=0.2, nth=2),
            CorruptState(trial="t0", nth=2),
            Kill(at="before_unit", trial="t0", nth=3),
            Kill(at="before_unit", trial="t1", nth=5),
            Freeze(0.2, trial="t1", nth=2),
        ]
    )
    result, _, struck = _search(tmp_path, plan)
    assert {t.status for t in result.trials.values()} == {TrialStatus.COMPLETED}
    assert _losses(result) == EXPECTED
    assert struck[:3] == (1, 2, 1)
    assert struck[5:] == (1, 1, 1, 1)


# --- what each one does, seen from near -------------------------------------------------------------------------------


class Bench:
    """One worker under a plan, and the units it is given."""

    def __init__(self, tmp_path: Path, faults: Sequence[Fault]) -> None:
        self.plan = FaultPlan(faults)
        self.backend = self.plan.on(FakeEngineBackend(1))
        self.states = StateFiles(str(tmp_path / "states"))
        self.directory = tmp_path / "states" / "t"
        self.states.write_spec("t", "{}")
        self.backend.start(replace(_search_spec(tmp_path), shards=SHARDS[1:]))
        self.until(WorkerJoined)

    def submit(self, generation: int = 0, stored: str = "", **selectors: Any) -> None:
        fields = {"trial": "t", "phase": "train", "epoch": 0, "shard": Shard("train", 0), **selectors}
        spec = CandidateSpec("t", "model", {}, (), ())
        # Written whatever it costs, so that no test here depends on how slow the disk was a moment ago.
        self.backend.submit("w0", RunCommand(Unit(**fields), StateRef(generation, None, stored), spec, keep=True))

    def until(self, *kinds: type) -> list[BackendEvent]:
        """Events until one of each kind has come."""
        events: list[BackendEvent] = []
        deadline = time.monotonic() + 30
        while not {type(event) for event in events} >= set(kinds):
            assert time.monotonic() < deadline, events
            events += self.backend.events(1.0)
        return events

    def stored(self, generation: int) -> StateStored:
        """The next news that this generation is in the store, once its unit is done too."""
        events = self.until(UnitDone, StateStored)
        while not (found := [e for e in events if isinstance(e, StateStored) and e.generation == generation]):
            events = self.until(StateStored)
        return found[0]

    def done(self, generation: int = 0, **selectors: Any) -> UnitDone:
        self.submit(generation, **selectors)
        (done,) = [event for event in self.until(UnitDone) if isinstance(event, UnitDone)]
        return done

    def failed(self, generation: int = 0, **selectors: Any) -> UnitFailed:
        self.submit(generation, **selectors)
        (failed,) = [event for event in self.until(UnitFailed) if isinstance(event, UnitFailed)]
        return failed


def test_units_fail_stumble_and_lie_as_planned(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        [
            FailUnit(epoch=1, reason="poor", trial_fault=True),
            NotANumber("loss", epoch=2),
            Delay(0.3, epoch=3, at="before_unit"),
            Freeze(0.4, epoch=4),
        ],
    )
    with bench.backend:
        assert bench.done().report.metrics["loss"] == 0.0
        failure = bench.failed(epoch=1)
        assert (failure.reason, failure.trial_fault) == ("poor", True)
        metrics = bench.done(epoch=2).report.metrics
        assert math.isnan(metrics["loss"])
        assert not math.isnan(metrics["pid"])
        for epoch, seconds in ((3, 0.3), (4, 0.4)):
            began = time.monotonic()
            bench.done(epoch=epoch)
            assert time.monotonic() - began >= seconds
        assert bench.plan.struck(bench.backend) == (1, 1, 1, 1)
        began = time.monotonic()
        bench.done(epoch=4)
        assert time.monotonic() - began < 0.3  # every fault strikes once


@pytest.mark.chaos
@pytest.mark.case(19)
def test_a_unit_that_hangs_ends_with_its_process(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [Hang(epoch=0)])
    with bench.backend as backend:
        bench.submit()
        deadline = time.monotonic() + 20
        while (backend.stalled_seconds("w0") or 0.0) < 0.2 and time.monotonic() < deadline:
            assert backend.events(0.1) == []
        backend.restart("w0", "it hung")
        lost, joined = bench.until(WorkerLost, WorkerJoined)
        assert lost == WorkerLost("w0", "it hung")
        assert isinstance(joined, WorkerJoined)
        bench.done()


@pytest.mark.case(2)
def test_a_worker_that_dies_before_the_commit_leaves_a_state(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [Kill(at="before_commit", nth=2)])
    with bench.backend:
        bench.done()
        bench.submit(1)
        events = bench.until(WorkerLost)
        assert not [event for event in events if isinstance(event, UnitDone)]
        assert [name[:6] for name in bench.states.names("t")][-1] == "000002"


def test_a_worker_that_dies_in_the_middle_of_a_write_leaves_half_a_file(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [Kill(at="mid_write", back_after=0.1)])
    with bench.backend:
        bench.done(phase="evaluate")
        bench.submit(epoch=1)
        events = bench.until(WorkerLost, WorkerJoined)
        assert not [event for event in events if isinstance(event, StateStored)]
        (half,) = bench.directory.glob(".tmp-*")
        assert half.stat().st_size == 9 // 2
        assert bench.states.names("t") == []


@pytest.mark.case(12)
def test_states_are_damaged_as_planned(tmp_path: Path) -> None:
    faults = [
        CorruptState("flip", epoch=0),
        CorruptState("truncate", epoch=1),
        CorruptState("empty", epoch=2),
        CorruptState("missing", epoch=3),
        CorruptState("missing", "manifest", epoch=4),
        CorruptState("flip", "manifest", epoch=5),
    ]
    bench = Bench(tmp_path, faults)
    with bench.backend:
        for epoch in range(len(faults) + 1):
            bench.submit(epoch=epoch)
            stored = bench.stored(1)
            if epoch == len(faults):
                assert bench.states.read("t", stored.name)
            else:
                with pytest.raises(StoreError):
                    bench.states.read("t", stored.name)


@pytest.mark.case(13, 14)
def test_the_store_is_full_and_out_of_reach_as_planned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path, [FillDisk(), FailStore(on="read", errno=13), SlowStore(seconds=0.3, on="read", nth=2)])
    with bench.backend:
        bench.done()
        deadline = time.monotonic() + 20
        while "needs 1 MiB free" not in caplog.text and time.monotonic() < deadline:
            assert bench.backend.events(0.05) == []
        bench.submit(1)
        stored = bench.stored(2)
        assert not list(bench.directory.glob(".tmp-*"))
        assert bench.states.names("t")[-1] == stored.name  # and the first one, at the second try
        bench.backend.submit("w0", DropCommand("t"))
        assert bench.failed(2, stored=stored.name).reason == "state_missing"
        began = time.monotonic()
        bench.done(2, stored=stored.name)
        assert time.monotonic() - began >= 0.3


@pytest.mark.chaos
@pytest.mark.case(5)
def test_a_worker_that_is_killed_for_good_is_given_up(tmp_path: Path) -> None:
    plan = FaultPlan([JoinLate("w0", 0.5), Kill("w0", 0.7)])
    with plan.on(FakeEngineBackend(1)) as backend:
        began = time.monotonic()
        backend.start(_search_spec(tmp_path))
        with pytest.raises(WorkerLostError, match="replaced 3 times"):
            while time.monotonic() - began < 30:
                backend.events(1.0)
        assert time.monotonic() - began > 0.7
        assert plan.struck(backend) == (1, 1)
