"""The simulated backend."""

from __future__ import annotations

import heapq
import itertools
import math
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
from cerebro_nas.backend.simulated._course import Course
from cerebro_nas.backend.simulated._course import pause_at
from cerebro_nas.backend.simulated._course import plan_course
from cerebro_nas.backend.simulated._faults import CorruptState
from cerebro_nas.backend.simulated._faults import FailStore
from cerebro_nas.backend.simulated._faults import FailUnit
from cerebro_nas.backend.simulated._faults import Fault
from cerebro_nas.backend.simulated._faults import FillDisk
from cerebro_nas.backend.simulated._faults import Freeze
from cerebro_nas.backend.simulated._faults import Hang
from cerebro_nas.backend.simulated._faults import JoinLate
from cerebro_nas.backend.simulated._faults import Kill
from cerebro_nas.backend.simulated._faults import NotANumber
from cerebro_nas.backend.simulated._faults import OutOfMemory
from cerebro_nas.backend.simulated._faults import SlowStore
from cerebro_nas.backend.simulated._faults import StoreFault
from cerebro_nas.backend.simulated._faults import UnitFault
from cerebro_nas.backend.simulated._store import SimulatedStore
from cerebro_nas.backend.simulated._strikes import Strikes
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
        silence_seconds: a worker whose process stands still for longer is given up for lost, and replaced.
        store: which states are stored; pass that of an earlier backend to go on with its search.
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
        silence_seconds: float = 15.0,
        store: SimulatedStore | None = None,
        seed: int = 0,
    ) -> None:
        if num_workers < 1:
            raise ConfigError(
                f"`num_workers` must be at least 1. Received: num_workers={num_workers}. Pass the number of workers."
            )
        self._names = tuple(f"w{i}" for i in range(num_workers))
        self._seconds = self._default_seconds if seconds is None else seconds
        self._metrics = self._default_metrics if metrics is None else metrics
        self._rate = fetch_bytes_per_second
        self._hop_seconds = hop_seconds
        self._store_seconds = store_seconds
        self._silence_seconds = silence_seconds
        self._store = SimulatedStore() if store is None else store
        self._seed = seed
        self._draws: dict[str, float] = {}
        self._now = 0.0
        self._search: SearchSpec | None = None
        self._faults: tuple[Fault, ...] = ()
        self.inject(faults)
        self._forget_strikes()
        self._clear()

    def inject(self, faults: Sequence[Fault]) -> None:
        """Let these go wrong too.

        Raises:
            ConfigError: one names a worker that is not there, or makes no sense in a simulation.
        """
        names = {fault.worker for fault in faults if isinstance(fault, UnitFault | StoreFault | JoinLate)} - {None}
        if not names <= set(self._names):
            raise ConfigError(f"`faults` must be about the workers {self._names}. Received: {sorted(map(str, names))}.")
        for fault in faults:
            if isinstance(fault, Kill) and fault.after_steps:
                raise ConfigError(
                    f"A simulated unit has no steps to count. Received: {fault}. Use `after_seconds`, on its clock."
                )
        self._faults += tuple(faults)

    def struck(self) -> tuple[int, ...]:
        """How often each fault has struck since `start`, in their order."""
        return tuple(self._struck[index] for index in range(len(self._faults)))

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
        self._clear()
        self._forget_strikes()
        late: dict[str, float] = {}
        for index, fault in enumerate(self._faults):
            if isinstance(fault, JoinLate):
                late[fault.worker] = fault.at
                self._struck[index] = 1
            elif isinstance(fault, Kill) and not isinstance(fault.at, str):
                self._at(fault.at, partial(self._kill_at_time, index, fault))
        for name, worker in self._workers.items():
            self._at(late.get(name, 0.0), partial(self._join, worker))

    def submit(self, worker: str, command: WorkerCommand) -> None:
        """Queue `command`. To a worker that is dead it is lost, as on a real cluster."""
        # Real backends refuse it too: a command before the first registration is an error of the caller's.
        if self._search is None or worker not in self._joined:
            raise BackendError(
                f"`worker` must be one of {self._names} that has joined a running backend. Received: "
                f"worker={worker!r}. Call start() and wait for the worker to join."
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

    def stalled_seconds(self, worker: str) -> float | None:
        """Seconds since its unit came to a standstill; 0 while it gets on with one."""
        known = self._workers.get(worker)
        if known is None or known.current is None:
            return None
        return 0.0 if known.stalled_since is None else self._now - known.stalled_since

    def restart(self, worker: str, reason: str) -> None:
        """The worker loses all it holds and registers again at once."""
        known = self._workers.get(worker)
        if self._search is None or known is None or not (known.alive or known.life):
            raise BackendError(
                f"`worker` must be one of {self._names} that has joined. Received: worker={worker!r}. "
                "Call start() and wait for the worker to join."
            )
        self._lose(known, reason, back_after=0.0)

    def now(self) -> float:
        """Seconds on the virtual clock."""
        return self._now

    def usage(self) -> BackendUsage:
        """Nothing is moved, and nothing is held."""
        return BackendUsage(bytes_hopped=0, peak_memory_bytes=dict.fromkeys(self._names, 0))

    def stop(self, grace: float | None = None) -> list[BackendEvent]:
        """Forget everything but the time, and what is stored; states on their way get there within the grace."""
        for at, _, action in sorted(self._agenda):
            if (
                isinstance(action, partial)
                and action.func == self._written
                and (grace is None or at <= self._now + grace)
            ):
                action()
        last, self._search = list(self._out), None
        self._clear()
        return last

    # --- the life of workers ----------------------------------------------------------------------------------------

    def _clear(self) -> None:
        self._workers = {name: SimulatedWorker(name) for name in self._names}
        self._joined: set[str] = set()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._out: list[BackendEvent] = []

    def _forget_strikes(self) -> None:
        self._matched: Counter[int] = Counter()
        self._struck: Counter[int] = Counter()
        self._strikes = Strikes(self._faults, self._match)

    def _match(self, index: int) -> int:
        self._matched[index] += 1
        fault = self._faults[index]
        if isinstance(fault, UnitFault | StoreFault) and fault.strikes(self._matched[index]):
            self._struck[index] += 1
        return self._matched[index]

    def _check_alive(self) -> None:
        if self._search is not None and not self._agenda and not any(w.alive for w in self._workers.values()):
            raise WorkerLostError("Every simulated worker is lost and none comes back. Plan fewer `Kill` faults.")

    def _at(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self._now + delay, next(self._order), action))

    def _join(self, worker: SimulatedWorker) -> None:
        worker.alive = True
        self._joined.add(worker.name)
        self._out.append(WorkerJoined(worker.name, worker.life))

    def _lose(self, worker: SimulatedWorker, reason: str, back_after: float | None, planned: bool = False) -> None:
        if worker.alive:
            worker.forget()
            self._out.append(WorkerLost(worker.name, reason, planned))
            if back_after is not None:
                self._at(back_after, partial(self._join, worker))

    def _kill_at_time(self, index: int, kill: Kill) -> None:
        worker = self._workers[str(kill.worker)]
        self._struck[index] += worker.alive
        self._lose(worker, "killed", kill.away)

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
        unit = command.unit
        faults = self._strikes.unit(unit, worker.name)
        moved = self._move_seconds(worker, command)
        course = plan_course(
            worker,
            command,
            faults,
            fetch=0.0 if moved is None else moved + self._fetch_seconds(worker, unit),
            busy=None if moved is None else self._seconds(unit, command.spec),
        )
        for at, fault in course.ahead():
            self._at(at, partial(self._strike, course, fault))
        # What strikes before it voids this.
        self._at(course.trained, partial(self._train if course.at("before_commit") else self._end, course))

    def _strike(self, course: Course, fault: UnitFault) -> None:
        if not course.is_current:
            return
        if isinstance(fault, Kill):
            self._lose(course.worker, "killed", fault.away)
        elif isinstance(fault, Hang):
            course.hung = True
            self._stall(course)
        elif isinstance(fault, Freeze):
            self._stall(course)
            if fault.seconds > self._silence_seconds:
                self._at(self._silence_seconds, partial(self._give_up, course))
            else:
                self._at(fault.seconds, partial(self._thaw, course))

    def _train(self, course: Course) -> None:
        """The state is made; it is in the store before the unit is told to be done."""
        if course.hung or not (course.is_current or course.outlived):
            return
        if self._failure(course) is not None:
            self._end(course)
        else:
            self._at(self._keep(course), partial(self._commit, course))

    def _commit(self, course: Course) -> None:
        for fault in course.at("before_commit"):
            self._strike(course, fault)
        self._at(pause_at(course.faults, "before_commit"), partial(self._end, course))

    def _stall(self, course: Course) -> None:
        if course.is_current:
            course.worker.stalled_since = self._now

    def _thaw(self, course: Course) -> None:
        if course.is_current:
            course.worker.stalled_since = None

    def _give_up(self, course: Course) -> None:
        if course.is_current:
            course.outlived = True
            self._lose(course.worker, f"not heard of for {self._silence_seconds:.0f} s", back_after=0.0)

    def _move_seconds(self, worker: SimulatedWorker, command: RunCommand) -> float | None:
        """Seconds until `worker` has the state; None if it is nowhere."""
        trial, state = command.unit.trial, command.state
        if state.generation == 0 or command.unit.phase == "call" or worker.states.get(trial) == state.generation:
            return 0.0
        holder = self._workers.get(state.holder or "")
        if holder is not None and holder.states.get(trial) == state.generation:
            return self._hop_seconds
        faults = self._strikes.store("read", trial, worker.name)
        if any(isinstance(fault, FailStore) for fault in faults) or not self._store.has(trial, state.stored):
            return None
        return self._hop_seconds + _slowness(faults)

    def _fetch_seconds(self, worker: SimulatedWorker, unit: Unit) -> float:
        if unit.shard is None or unit.shard in worker.shards:
            return 0.0
        worker.shards.add(unit.shard)
        return self._infos[unit.shard].nbytes / self._rate

    def _end(self, course: Course) -> None:
        worker, command = course.worker, course.command
        if course.hung:
            return
        if course.is_current:
            worker.current = worker.stalled_since = None
        elif not course.outlived:
            return
        unit = command.unit
        fault = self._failure(course)
        if fault is not None:
            message = f"{fault.reason}: simulated"
            self._out.append(UnitFailed(worker.name, unit, fault.reason, message, fault.trial_fault))
            if any(isinstance(fault, OutOfMemory) for fault in course.faults) and worker.life == course.life:
                # As a real one does: what follows begins in a fresh process.
                self._lose(worker, "it ran out of memory", back_after=0.0, planned=True)
        else:
            if not course.kept:
                self._keep(course)
            rows = 1 if unit.shard is None else self._infos[unit.shard].rows
            report = UnitReport(rows, self._scores(course), course.trained, course.busy or 0.0)
            self._out.append(UnitDone(worker.name, unit, report))
        self._work(worker)

    def _failure(self, course: Course) -> FailUnit | None:
        if course.busy is None:
            return FailUnit(reason="state_missing")
        for fault in course.faults:
            if isinstance(fault, OutOfMemory):
                return FailUnit(reason="oom")
            if isinstance(fault, FailUnit):
                return fault
        return None

    def _scores(self, course: Course) -> dict[str, float]:
        metrics = self._metrics(course.command.unit, course.command.spec)
        for fault in course.faults:
            if isinstance(fault, NotANumber):
                metrics = {k: math.nan if fault.metric in (None, k) else v for k, v in metrics.items()}
        return metrics

    def _keep(self, course: Course) -> float:
        """The unit is done: its state is in the worker's memory, and so many seconds away from the store."""
        course.kept = True
        unit, generation = course.command.unit, course.command.state.generation
        seconds = 0.0
        if unit.phase == "train":
            generation += 1
            seconds = self._write(course, generation)
        if course.worker.life == course.life:
            course.worker.states[unit.trial] = generation
        return seconds

    def _write(self, course: Course, generation: int) -> float:
        if self._search is None or not self._search.checkpoint:
            return 0.0
        faults = self._strikes.store("write", course.command.unit.trial, course.worker.name)
        if any(isinstance(fault, FillDisk | FailStore) for fault in faults):
            return 0.0
        seconds = self._store_seconds + _slowness(faults)
        self._at(seconds, partial(self._written, course, generation))
        return seconds

    def _written(self, course: Course, generation: int) -> None:
        worker, unit = course.worker, course.command.unit
        if worker.life != course.life and not course.outlived:
            return
        for fault in course.faults:
            if isinstance(fault, Kill) and fault.at == "mid_write":
                self._lose(worker, "killed", fault.away)
                return
        name = self._store.write(unit.trial, generation)
        if any(isinstance(fault, CorruptState) for fault in course.faults):
            self._store.lose(unit.trial, name)
        self._out.append(StateStored(unit, generation, name))

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


def _slowness(faults: Sequence[StoreFault]) -> float:
    return sum(fault.seconds for fault in faults if isinstance(fault, SlowStore))
