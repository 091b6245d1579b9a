"""The contract between a search and the place where it runs.

A backend starts workers, carries commands to them and brings their messages back. It never decides what runs next.
All methods are called from one thread, the search's; a backend may use threads of its own behind them.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import TypeVar

from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost

if TYPE_CHECKING:
    from types import TracebackType

    from cerebro_nas.worker import CandidateSpec
    from cerebro_nas.worker import SearchSpec

B = TypeVar("B", bound="Backend")
BackendEvent = WorkerJoined | WorkerLost | UnitDone | UnitFailed | StateStored


@dataclass(frozen=True)
class RunCommand:
    """Run `unit` from `state`.

    Attributes:
        spec: comes with every command: a worker keeps what it has built by its key.
        keep: the store must get what the unit makes, whatever that costs.
        sums: what metrics counted on the epoch's other validation shards, where this is the last one.
    """

    unit: Unit
    state: StateRef
    spec: CandidateSpec
    keep: bool = False
    sums: dict[str, list[float]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class DropCommand:
    """Forget the state of `trial`."""

    trial: str


@dataclass(frozen=True)
class LoadCommand:
    """Make `shard` ready ahead of its first use. Where that fails, the unit that needs the shard will tell."""

    shard: Shard


WorkerCommand = RunCommand | DropCommand | LoadCommand


@dataclass(frozen=True)
class BackendUsage:
    """What the workers used, for the summary at the end of a search."""

    bytes_hopped: int = 0
    peak_memory_bytes: dict[str, int] = field(default_factory=dict)


class Backend(abc.ABC):
    """Where a search runs.

    Life: `launch` (optional), `start`, then any number of `submit` and `events`, then `stop`. `stop` is safe to call at
    any moment and more than once, and leaves no process, thread, socket or temporary directory behind. A stopped
    backend can be started again. As a context manager a backend stops itself on the way out.
    """

    @property
    @abc.abstractmethod
    def num_workers(self) -> int:
        """Number of workers that `start` brings up."""

    @property
    def min_workers(self) -> int:
        """Workers below which a search that has begun had better wait, and give up in the end; 1 unless told."""
        return 1

    @abc.abstractmethod
    def check(self) -> None:
        """Check, in seconds and before any work, that the workers can run.

        All `num_workers` of them, unless the user said that fewer are enough to begin with: the others join when
        there is room for them.

        Raises:
            BackendError: there are fewer slots than workers, or something that workers need is missing.
        """

    def launch(self) -> bool:
        """Begin to start the workers before it is known what they will do, unless that would keep others waiting.

        `start` then goes on with them, and `stop` ends them. A backend that cannot do it does nothing, nor does a
        second call. `HyperHyperModel.fit` calls it before the data is prepared; a script may do so earlier, before
        it imports AutoKeras say.

        Returns:
            Whether workers are being started.
        """
        return False

    @abc.abstractmethod
    def start(self, search: SearchSpec) -> None:
        """Start the workers and return without waiting; each one's registration comes as `WorkerJoined`.

        Worker names are `w0` ... `w{n-1}`.
        """

    @abc.abstractmethod
    def submit(self, worker: str, command: WorkerCommand) -> None:
        """Send `command` to a worker that has joined. Commands to one worker are carried out in order."""

    @abc.abstractmethod
    def events(self, timeout: float) -> list[BackendEvent]:
        """Return what happened since the last call, waiting up to `timeout` seconds for the first event.

        Raises:
            BackendStartTimeout: not one worker registered within the start timeout.
            BackendError: the backend itself has failed (the message says which worker and why).
        """

    def stalled_seconds(self, worker: str) -> float | None:
        """Seconds since the last sign that `worker` gets on with its unit; None: it runs none, or nobody knows.

        Steps of training and evaluation are such signs, and so are the ends of the parts before and after them. A
        process that is stopped, or that waits for something that never comes, gives none.
        """
        return None

    @abc.abstractmethod
    def restart(self, worker: str, reason: str) -> None:
        """End the process of `worker` now, whatever it does, and have a fresh one take its place.

        It comes as `WorkerLost(worker, reason)`, which is not a planned one, and later as `WorkerJoined`. It does not
        count as a death of the worker. For a worker that is lost already it does nothing.

        Raises:
            BackendError: no worker of this name has joined, or the backend is not running.
        """

    @abc.abstractmethod
    def now(self) -> float:
        """Seconds on the backend's clock (monotonic; virtual in the simulator)."""

    @abc.abstractmethod
    def usage(self) -> BackendUsage:
        """What the workers have used so far."""

    @abc.abstractmethod
    def stop(self, grace: float | None = None) -> list[BackendEvent]:
        """Stop every worker and free everything.

        Args:
            grace: seconds that the workers have to write the states they hold; units that run are abandoned at once.
                None: what the backend thinks right. With 0 nothing is waited for.

        Returns:
            What `events` would have returned next: the states, above all, that were written last.
        """

    def __enter__(self: B) -> B:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
