"""What every backend must do, as tests to inherit."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from cerebro_nas.backend import DropCommand
from cerebro_nas.backend import RunCommand
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.testing._leaks import Leaks
from cerebro_nas.testing._tiny import tiny_search

if TYPE_CHECKING:
    from pathlib import Path

    from cerebro_nas.backend import Backend
    from cerebro_nas.backend import BackendEvent
    from cerebro_nas.backend import WorkerCommand
    from cerebro_nas.hopper import Phase
    from cerebro_nas.worker import CandidateSpec
    from cerebro_nas.worker import SearchSpec

_FIRST = Shard("train", 0)
_SECOND = Shard("train", 1)
_VALID = Shard("valid", 0)


class BackendContract:
    """Inherit as `TestMyBackend(BackendContract)` and provide `make_backend`; pytest collects the rest.

    Attributes:
        patience: seconds that a real backend may take for any one thing.
    """

    patience: float = 120.0

    # --- what a backend's test class provides -----------------------------------------------------------------------

    def make_backend(self, num_workers: int) -> Backend:
        """Return a stopped backend of `num_workers` workers."""
        raise NotImplementedError

    def make_search(self, tmp_path: Path) -> tuple[SearchSpec, CandidateSpec]:
        """Return a data set with two training shards and a validation shard, and a candidate that trains on it."""
        return tiny_search(tmp_path)

    def make_leaks(self) -> Leaks:
        """Return the watch for what a backend leaves behind; override to ignore what outlives one."""
        return Leaks()

    # --- the contract -----------------------------------------------------------------------------------------------

    def test_starts_stops_and_starts_again(self, tmp_path: Path) -> None:
        """All workers join; `stop` may be called twice, and before `start`; nothing is left; a restart works."""
        search, _ = self.make_search(tmp_path)
        backend = self.make_backend(2)
        leaks = self.make_leaks()
        backend.stop()
        for _ in range(2):
            backend.check()
            backend.start(search)
            joined = self._join(backend)
            _expect(joined == {"w0", "w1"}, "every worker joins", joined)
            backend.stop()
            backend.stop()
        found = leaks.found()
        _expect(not found, "nothing is left after stop", found)

    def test_leaving_the_context_stops(self, tmp_path: Path) -> None:
        """An error inside `with` stops the backend."""
        search, _ = self.make_search(tmp_path)
        leaks = self.make_leaks()
        try:
            with self.make_backend(1) as backend:
                backend.start(search)
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            found = leaks.found()
        _expect(not found, "nothing is left after an error", found)

    def test_a_candidate_hops(self, tmp_path: Path) -> None:
        """Train on one worker, go on on another one, evaluate there; evaluation changes nothing."""
        search, spec = self.make_search(tmp_path)
        with self.make_backend(2) as backend:
            backend.start(search)
            self._join(backend)
            first = self._run(backend, "w0", spec, "train", _FIRST, StateRef(0))
            second = self._run(backend, "w1", spec, "train", _SECOND, StateRef(1, holder="w0"))
            backend.submit("w0", DropCommand(spec.trial))
            scores = [self._run(backend, "w1", spec, "evaluate", _VALID, StateRef(2, "w1"), k) for k in range(2)]
        for done, shard in ((first, _FIRST), (second, _SECOND), (scores[0], _VALID)):
            rows = next(s.rows for s in search.shards if (s.split, s.index) == (shard.split, shard.index))
            _expect(done.report.rows == rows, "a unit reports its rows", done)
            _expect("loss" in done.report.metrics and "accuracy" in done.report.metrics, "a unit reports metrics", done)
            _expect(0 < done.report.busy_seconds <= done.report.seconds, "a unit reports its times", done)
        _expect(scores[0].report.metrics == scores[1].report.metrics, "evaluation changes nothing", scores)

    def test_a_broken_candidate_fails_alone(self, tmp_path: Path) -> None:
        """A candidate that cannot be built is reported as its own fault, and its worker goes on."""
        search, spec = self.make_search(tmp_path)
        broken = dataclasses.replace(spec, trial="broken", model='{"class_name": "NoSuchLayer", "config": {}}')
        with self.make_backend(1) as backend:
            backend.start(search)
            self._join(backend)
            event = self._outcome(backend, "w0", broken, "train", _FIRST, StateRef(0))
            _expect(isinstance(event, UnitFailed) and event.trial_fault, "a broken candidate fails", event)
            self._run(backend, "w0", spec, "train", _FIRST, StateRef(0))

    def test_a_worker_is_replaced_on_request(self, tmp_path: Path) -> None:
        """`restart` ends a worker, which is no planned loss, and a fresh one joins that can do what the old one did."""
        search, spec = self.make_search(tmp_path)
        with self.make_backend(1) as backend:
            backend.start(search)
            self._join(backend)
            self._run(backend, "w0", spec, "train", _FIRST, StateRef(0))
            stalled = backend.stalled_seconds("w0")
            _expect(stalled is None or stalled < self.patience, "an idle worker is not stalled for long", stalled)
            backend.restart("w0", "because")
            backend.restart("w0", "again")
            events: list[BackendEvent] = []
            until = time.monotonic() + self.patience
            while not any(isinstance(e, WorkerJoined) for e in events) and time.monotonic() < until:
                events += [e for e in backend.events(1.0) if not isinstance(e, StateStored)]
            wanted = [WorkerLost("w0", "because"), WorkerJoined("w0", 1)]
            _expect(events == wanted, "a worker is lost once, then joins", events)
            event = self._outcome(backend, "w0", spec, "train", _SECOND, StateRef(1, holder="w0"))
            missing = isinstance(event, UnitFailed) and event.reason == "state_missing" and not event.trial_fault
            _expect(missing, "what the old one held is gone", event)
            self._run(backend, "w0", spec, "train", _FIRST, StateRef(0))

    def test_fewer_workers_than_all_are_enough_to_go_on(self) -> None:
        """Unless told otherwise a search goes on as long as any worker does."""
        backend = self.make_backend(2)
        _expect(1 <= backend.min_workers <= backend.num_workers, "min_workers is sensible", backend.min_workers)

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _join(self, backend: Backend) -> set[str]:
        joined: set[str] = set()
        until = time.monotonic() + self.patience
        while len(joined) < backend.num_workers and time.monotonic() < until:
            joined |= {e.worker for e in backend.events(1.0) if isinstance(e, WorkerJoined)}
        return joined

    def _run(
        self,
        backend: Backend,
        worker: str,
        spec: CandidateSpec,
        phase: Phase,
        shard: Shard,
        state: StateRef,
        attempt: int = 0,
    ) -> UnitDone:
        event = self._outcome(backend, worker, spec, phase, shard, state, attempt)
        if not isinstance(event, UnitDone):
            raise AssertionError(f"contract: a unit is done. Received: {event}")
        return event

    def _outcome(
        self,
        backend: Backend,
        worker: str,
        spec: CandidateSpec,
        phase: Phase,
        shard: Shard,
        state: StateRef,
        attempt: int = 0,
    ) -> BackendEvent:
        unit = Unit(spec.trial, phase, 0, shard, attempt)
        command: WorkerCommand = RunCommand(unit, state, spec)
        backend.submit(worker, command)
        until = time.monotonic() + self.patience
        while time.monotonic() < until:
            for event in backend.events(1.0):
                if not isinstance(event, StateStored):
                    return event
        raise AssertionError(f"contract: a unit ends within {self.patience} s. Received: nothing about {unit}")


def _expect(truth: bool, promise: str, received: object) -> None:
    if not truth:
        raise AssertionError(f"contract: {promise}. Received: {received}")
