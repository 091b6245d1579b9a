"""The simulated backend."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from cerebro_nas.backend._base import Backend
from cerebro_nas.backend._base import BackendEvent
from cerebro_nas.backend._base import BackendUsage
from cerebro_nas.backend._base import DropCommand
from cerebro_nas.backend._base import LoadCommand
from cerebro_nas.backend._base import RunCommand
from cerebro_nas.backend._base import WorkerCommand
from cerebro_nas.backend.simulated._faults import FailUnit
from cerebro_nas.backend.simulated._faults import Fault
from cerebro_nas.backend.simulated._faults import JoinLate
from cerebro_nas.backend.simulated._faults import Kill
from cerebro_nas.backend.simulated._worker import SimulatedWorker
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import WorkerLostError
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import UnitReport
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from cerebro_nas.worker import CandidateSpec
    from cerebro_nas.worker import SearchSpec


class SimulatedBackend(Backend):
    """Workers that only wait, on a clock that jumps from one event to the next.

    `events(timeout)` moves the clock to the next event, or by `timeout` where that is sooner.

    Args:
        num_workers: number of workers.
        seconds: computing time of a unit of a candidate. None: 0.1 ms a row to train, a third of that to evaluate,
            times a factor between 0.5 and 2 that belongs to the trial.
        metrics: what a unit reports. None: a learning curve that belongs to the trial.
        faults: what goes wrong.
        fetch_bytes_per_second: speed at which a worker fetches a shard that it does not hold.
        hop_seconds: time to move a state between two workers, or to read it from the store.
        store_seconds: time from the end of a train unit to its state being in the store (where the search checkpoints).
        seed: of the trials' factors and curves.
    """

    def __init__(
        self,
        num_workers: int,
        *,
        seconds: Callable[[Unit, CandidateSpec], float] | None = None,
        metrics: Callable[[Unit, CandidateSpec], dict[str, float]] | None = None,
        faults: Sequence[Fault] = (),
        fetch_bytes_per_second: float = 200e6,
        hop_seconds: float = 0.0,
        store_seconds: float = 0.0,
        seed: int = 0,
    ) -> None:
        if num_workers < 1:
            raise ConfigError(
                f"`num_workers` must be at least 1. Received: num_workers={num_workers}. Pass the number of workers."
            )
        self._names = tuple(f"w{i}" for i in range(num_workers))
        self._seconds = self._default_seconds if seconds is None else seconds
        self._metrics = self._default_metrics if metrics is None else metrics
        self._faults = tuple(faults)
        self._rate = fetch_bytes_per_second
        self._hop_seconds = hop_seconds
        self._store_seconds = store_seconds
        self._seed = seed
        self._draws: dict[str, float] = {}
        self._now = 0.0
        self._search: SearchSpec | None = None
        self._clear()
        self._check_faults()

    # --- the contract -----------------------------------------------------------------------------------------------

    @property
    def num_workers(self) -> int:
        """Number of workers."""
        return len(self._names)

    def check(self) -> None:
        """Nothing that a simulation needs can be missing."""

    def start(self, search: SearchSpec) -> None:
        """Let the workers register, at once or as `faults` say."""
        if self._search is not None:
            raise BackendError("`start` needs a stopped backend. Received: a running one. Call stop() first.")
        self._search = search
        self._infos = {Shard("train" if s.split == "train" else "valid", s.index): s for s in search.shards}
        late = {fault.worker: fault.at for fault in self._faults if isinstance(fault, JoinLate)}
        for name, worker in self._workers.items():
            self._at(late.get(name, 0.0), partial(self._join, worker))
        for fault in self._faults:
            if isinstance(fault, Kill):
                self._at(fault.at, partial(self._kill, fault))

    def submit(self, worker: str, command: WorkerCommand) -> None:
        """Queue `command`. To a worker that is dead it is lost, as on a real cluster."""
        if self._search is None or worker not in self._workers:
            raise BackendError(
                f"`worker` must be one of {self._names} of a running backend. Received: worker={worker!r}. "
                "Call start() and wait for the worker to join."
            )
        target = self._workers[worker]
        if target.alive:
            target.queue.append(command)
            self._work(target)

    def events(self, timeout: float) -> list[BackendEvent]:
        """Move the clock to the next event and return what happens then."""
        until = self._now + timeout
        while not self._out and self._agenda and self._agenda[0][0] <= until:
            self._now = max(self._now, self._agenda[0][0])
            while self._agenda and self._agenda[0][0] <= self._now:
                heapq.heappop(self._agenda)[2]()
        if not self._out:
            self._check_alive()
            self._now = until
        out = list(self._out)
        self._out.clear()
        return out

    def restart(self, worker: str, reason: str) -> None:
        """The worker loses all it holds and registers again at once."""
        if self._search is None or worker not in self._workers:
            raise BackendError(
                f"`worker` must be one of {self._names} of a running backend. Received: worker={worker!r}."
            )
        target = self._workers[worker]
        if target.alive:
            target.forget()
            self._out.append(WorkerLost(worker, reason))
            self._at(0.0, partial(self._join, target))

    def now(self) -> float:
        """Seconds on the virtual clock."""
        return self._now

    def usage(self) -> BackendUsage:
        """Nothing is moved, and nothing is held."""
        return BackendUsage(bytes_hopped=0, peak_memory_bytes=dict.fromkeys(self._names, 0))

    def stop(self, grace: float | None = None) -> None:
        """Forget everything but the time."""
        self._search = None
        self._clear()

    # --- the life of workers ----------------------------------------------------------------------------------------

    def _clear(self) -> None:
        self._workers = {name: SimulatedWorker(name) for name in self._names}
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._out: list[BackendEvent] = []
        self._stored: dict[str, set[str]] = {}
        self._strikes: Counter[FailUnit] = Counter()

    def _check_faults(self) -> None:
        names = {fault.worker for fault in self._faults if fault.worker is not None}
        if not names <= set(self._names):
            raise ConfigError(f"`faults` must be about the workers {self._names}. Received: workers {sorted(names)}.")

    def _check_alive(self) -> None:
        if self._search is not None and not self._agenda and not any(w.alive for w in self._workers.values()):
            raise WorkerLostError("Every simulated worker is lost and none comes back. Plan fewer `Kill` faults.")

    def _at(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self._now + delay, next(self._order), action))

    def _join(self, worker: SimulatedWorker) -> None:
        worker.alive = True
        self._out.append(WorkerJoined(worker.name, worker.life))

    def _kill(self, kill: Kill) -> None:
        worker = self._workers[kill.worker]
        if worker.alive:
            worker.forget()
            self._out.append(WorkerLost(worker.name, "killed"))
            if kill.back_after is not None:
                self._at(kill.back_after, lambda: self._join(worker))

    # --- the life of units ------------------------------------------------------------------------------------------

    def _work(self, worker: SimulatedWorker) -> None:
        while worker.current is None and worker.queue:
            command = worker.queue.popleft()
            if isinstance(command, DropCommand):
                worker.states.pop(command.trial, None)
            elif isinstance(command, LoadCommand):
                worker.shards.add(command.shard)
            else:
                self._begin(worker, command)

    def _begin(self, worker: SimulatedWorker, command: RunCommand) -> None:
        worker.current = command
        life = worker.life
        moved = self._move_seconds(worker, command)
        fetched = self._fetch_seconds(worker, command.unit)
        busy = 0.0 if moved is None else self._seconds(command.unit, command.spec)
        delay = 0.0 if moved is None else moved + fetched + busy

        def end() -> None:
            if worker.life == life and worker.current is command:
                worker.current = None
                self._end(worker, command, moved is None, delay, busy)
                self._work(worker)

        self._at(delay, end)

    def _move_seconds(self, worker: SimulatedWorker, command: RunCommand) -> float | None:
        """Seconds until `worker` has the state; None if it is nowhere."""
        trial, state = command.unit.trial, command.state
        if state.generation == 0 or command.unit.phase == "call" or worker.states.get(trial) == state.generation:
            return 0.0
        holder = self._workers.get(state.holder or "")
        if holder is not None and holder.states.get(trial) == state.generation:
            return self._hop_seconds
        return self._hop_seconds if state.stored in self._stored.get(trial, ()) else None

    def _fetch_seconds(self, worker: SimulatedWorker, unit: Unit) -> float:
        if unit.shard is None or unit.shard in worker.shards:
            return 0.0
        worker.shards.add(unit.shard)
        return self._infos[unit.shard].nbytes / self._rate

    def _end(self, worker: SimulatedWorker, command: RunCommand, missing: bool, seconds: float, busy: float) -> None:
        unit, generation = command.unit, command.state.generation
        fault = FailUnit(reason="state_missing") if missing else self._struck(unit, worker.name)
        if fault is not None:
            message = f"{fault.reason}: simulated"
            self._out.append(UnitFailed(worker.name, unit, fault.reason, message, fault.trial_fault))
            return
        if unit.phase == "train":
            generation += 1
            self._at(self._store_seconds, self._storing(unit, generation, worker))
        worker.states[unit.trial] = generation
        rows = 1 if unit.shard is None else self._infos[unit.shard].rows
        report = UnitReport(rows, self._metrics(unit, command.spec), seconds, busy)
        self._out.append(UnitDone(worker.name, unit, report))

    def _storing(self, unit: Unit, generation: int, worker: SimulatedWorker) -> Callable[[], None]:
        life = worker.life

        def stored() -> None:
            if worker.life == life and self._search is not None and self._search.checkpoint:
                name = f"{generation}-{next(self._order)}"
                self._stored.setdefault(unit.trial, set()).add(name)
                self._out.append(StateStored(unit, generation, name))

        return stored

    def _struck(self, unit: Unit, worker: str) -> FailUnit | None:
        for fault in self._faults:
            if isinstance(fault, FailUnit) and self._strikes[fault] < fault.times and fault.hits(unit, worker):
                self._strikes[fault] += 1
                return fault
        return None

    # --- what trials are like unless the caller says ----------------------------------------------------------------

    def _draw(self, trial: str) -> float:
        draw = self._draws.get(trial)
        if draw is None:
            draw = self._draws[trial] = random.Random(f"{self._seed}/{trial}").random()
        return draw

    def _default_seconds(self, unit: Unit, spec: CandidateSpec) -> float:
        rows = 1000 if unit.shard is None else self._infos[unit.shard].rows
        share = 1 / 3 if unit.phase == "evaluate" else 1.0
        return float(rows * 1e-4 * share * 2 ** (2 * self._draw(spec.trial) - 1))

    def _default_metrics(self, unit: Unit, spec: CandidateSpec) -> dict[str, float]:
        accuracy = (0.5 + 0.5 * self._draw(f"{spec.trial}/quality")) * (1 - 0.5 ** (unit.epoch + 1))
        return {"loss": 1 - accuracy, "accuracy": accuracy}
