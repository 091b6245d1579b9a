"""The simulated backend keeps the backends' contract, and its clock, faults and stores behave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cerebro_nas.backend import DropCommand
from cerebro_nas.backend import RunCommand
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend.simulated import FailUnit
from cerebro_nas.backend.simulated import JoinLate
from cerebro_nas.backend.simulated import Kill
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import WorkerLostError
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.testing import BackendContract
from cerebro_nas.testing import shard_search
from cerebro_nas.worker import CandidateSpec

if TYPE_CHECKING:
    from pathlib import Path

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


