"""What the backends that run real processes share: the driver's server, the table of workers, and their life cycle."""

from __future__ import annotations

import abc
import atexit
import dataclasses
import logging
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import ClassVar

from cerebro_nas.backend._base import Backend
from cerebro_nas.backend._base import BackendEvent
from cerebro_nas.backend._base import BackendUsage
from cerebro_nas.backend._base import DropCommand
from cerebro_nas.backend._base import LoadCommand
from cerebro_nas.backend._base import WorkerCommand
from cerebro_nas.backend._process import project_path
from cerebro_nas.backend._scratch import Scratch
from cerebro_nas.backend._server import ControlServer
from cerebro_nas.backend._table import WorkerTable
from cerebro_nas.backend._tls import TlsSetting
from cerebro_nas.backend._tls import open_tls
from cerebro_nas.backend._tls import tls_source
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import BackendStartTimeout
from cerebro_nas.errors import ConfigError
from cerebro_nas.worker.link import Secret
from cerebro_nas.worker.link import Tls
from cerebro_nas.worker.link import location_of
from cerebro_nas.worker.messages import COMMAND_LIMIT
from cerebro_nas.worker.messages import CommandMessage
from cerebro_nas.worker.messages import DropMessage
from cerebro_nas.worker.messages import LoadMessage
from cerebro_nas.worker.messages import RunMessage
from cerebro_nas.worker.messages import StopMessage
from cerebro_nas.worker.messages import WorkerConfig
from cerebro_nas.worker.messages import encode

if TYPE_CHECKING:
    from cerebro_nas.worker import SearchSpec

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """What exists from `start` to `stop`, and no longer."""

    secret: Secret
    table: WorkerTable
    server: ControlServer
    location: str
    scratch: Scratch
    stopping: threading.Event
    tls: Tls | None = None


@dataclass(frozen=True)
class Recycling:
    """When a worker makes way for a fresh process.

    Attributes:
        memory_limit: resident bytes above which it does so, after a unit; None: never.
        max_units: units after which it does so; None: never.
    """

    memory_limit: int | None = None
    max_units: int | None = None

    def __post_init__(self) -> None:
        _require_count("worker_memory_limit", self.memory_limit, 1)
        _require_count("max_units_per_worker", self.max_units, 1)


class WorkerPool(Backend):
    """The common base of `LocalBackend` and `SparkBackend`; they differ in how worker programs are kept running."""

    silence_seconds: ClassVar[float] = 15.0
    stop_seconds: ClassVar[float] = 10.0
    engine: ClassVar[str] = "cerebro_nas.worker:Engine"
    # What tests set, on a class or an instance: see `cerebro_nas.worker.Hooks`.
    hooks: str = ""
    hook_data: str = ""

    def __init__(
        self,
        num_workers: int,
        *,
        threads_per_worker: int | None,
        start_timeout: float,
        max_restarts: int,
        min_workers: int | None = None,
        recycling: Recycling | None = None,
        tls: TlsSetting = False,
    ) -> None:
        _require_count("num_workers", num_workers, 1)
        _require_count("threads_per_worker", threads_per_worker, 1)
        _require_count("max_restarts", max_restarts, 0)
        _require_count("min_workers", min_workers, 1)
        if min_workers is not None and min_workers > num_workers:
            raise ConfigError(
                f"`min_workers` must be at most `num_workers`. Received: min_workers={min_workers}, "
                f"num_workers={num_workers}."
            )
        if not start_timeout > 0:
            raise ConfigError(f"`start_timeout` must be seconds above 0. Received: start_timeout={start_timeout!r}.")
        self._num_workers = num_workers
        self._threads_per_worker = threads_per_worker
        self._start_timeout = start_timeout
        self._max_restarts = max_restarts
        self._min_workers = min_workers
        self._recycling = Recycling() if recycling is None else recycling
        self._tls = tls_source(tls)
        self._session: Session | None = None
        self._deadline: float | None = None
        self._last_usage = BackendUsage()
        self._keepers: list[threading.Thread] = []
        self._monitor: threading.Thread | None = None

    # --- what a backend adds -----------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _addresses(self) -> tuple[str, str]:
        """The address to listen on, and the one that workers reach it by."""

    @abc.abstractmethod
    def _threads(self) -> int:
        """Threads of one worker."""

    @abc.abstractmethod
    def _keeper(self, session: Session, worker: str) -> threading.Thread:
        """A thread, not started, that keeps one worker program running until the session stops."""

    @abc.abstractmethod
    def _interrupt(self, worker: str, *, force: bool) -> None:
        """End the worker program, or what supervises it, from outside."""

    # --- the contract ------------------------------------------------------------------------------------------------

    @property
    def num_workers(self) -> int:
        return self._num_workers

    @property
    def min_workers(self) -> int:
        return self._min_workers or 1

    def launch(self) -> bool:
        if self._deadline is not None:
            raise BackendError("This backend runs a search already; call stop() before launch().")
        if self._session is None:
            self.check()
            if not self._has_room():
                return False
            self._bring_up()
        return True

    def start(self, search: SearchSpec) -> None:
        if self._deadline is not None:
            raise BackendError("This backend runs a search already; call stop() before start().")
        if self._session is None:
            self.check()
            self._bring_up()
        self._deadline = time.monotonic() + self._start_timeout
        self._open_session().server.announce(dataclasses.replace(search, threads=self._threads()).to_json())

    def _bring_up(self) -> None:
        session = self._session = self._open()
        atexit.register(self.stop)
        try:
            self._monitor = threading.Thread(target=self._watch, args=(session,), name="cerebro-monitor", daemon=True)
            self._monitor.start()
            for worker in self._names():
                keeper = self._keeper(session, worker)
                self._keepers.append(keeper)
                keeper.start()
        except BaseException:
            self.stop()
            raise

    def submit(self, worker: str, command: WorkerCommand) -> None:
        self._running().table.submit(worker, self._message(worker, command))

    def events(self, timeout: float) -> list[BackendEvent]:
        session, deadline = self._running(), self._deadline
        if session.table.joined or deadline is None:
            return session.table.take(timeout)
        events = session.table.take(max(0.0, min(timeout, deadline - time.monotonic())))
        if not events and time.monotonic() >= deadline:
            raise BackendStartTimeout(
                f"None of {self._num_workers} workers registered within {self._start_timeout:.0f} s. Received: "
                f"start_timeout={self._start_timeout!r}. Look for the cause in the workers' logs, or raise it."
            )
        return events

    def stalled_seconds(self, worker: str) -> float | None:
        return self._running().table.stalled(worker)

    def restart(self, worker: str, reason: str) -> None:
        if self._running().table.dismiss(worker, reason):
            _LOGGER.warning("Worker %s is ended and replaced: %s", worker, reason)
            self._interrupt(worker, force=True)

    def now(self) -> float:
        return time.monotonic()

    def usage(self) -> BackendUsage:
        return self._last_usage if self._session is None else self._session.table.usage()

    def stop(self, grace: float | None = None) -> list[BackendEvent]:
        session = self._session
        if session is None:
            return []
        seconds = self.stop_seconds if grace is None else max(0.0, grace)
        session.stopping.set()
        # The rest of the time is for exiting.
        session.table.stop(StopMessage(seconds * 0.8))
        session.server.dismiss()
        self._stop_keepers(session, seconds)
        last = session.table.close()
        session.server.shutdown()
        if self._monitor is not None and self._monitor.ident is not None:
            self._monitor.join()
        session.scratch.remove()
        self._last_usage = session.table.usage()
        self._session, self._monitor, self._keepers, self._deadline = None, None, [], None
        atexit.unregister(self.stop)
        return last

    # --- parts -------------------------------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        return [f"w{index}" for index in range(self._num_workers)]

    def _running(self) -> Session:
        if self._deadline is None:
            raise BackendError("This backend is not running; call start() first.")
        return self._open_session()

    def _open_session(self) -> Session:
        if self._session is None:
            raise BackendError("This backend is not running; call start() first.")
        return self._session

    def _has_room(self) -> bool:
        """Whether workers can start while something else, such as the preparation of data, goes on beside them."""
        return True

    def _open(self) -> Session:
        secret = Secret(secrets.token_hex(32))
        table = WorkerTable(self._names(), self._max_restarts)
        bind, reach = self._addresses()
        tls = open_tls(self._tls)
        server = ControlServer(bind, secret, table, tls)
        location = location_of(reach, server.port, tls)
        return Session(secret, table, server, location, Scratch(), threading.Event(), tls)

    def _message(self, worker: str, command: WorkerCommand) -> CommandMessage:
        if isinstance(command, DropCommand):
            return DropMessage(command.trial)
        if isinstance(command, LoadCommand):
            return LoadMessage(command.shard.split, command.shard.index)
        holder = command.state.holder
        peer = None if holder in (None, worker) else self._running().table.location(holder)
        message = RunMessage(command.unit, command.state, command.spec, peer, command.keep, command.sums)
        size = len(encode(message))
        if size > COMMAND_LIMIT // 2:
            raise BackendError(
                f"The description of trial {command.unit.trial} is too large to send: {size} bytes; a command may have "
                f"{COMMAND_LIMIT // 2}."
            )
        return message

    def _worker_config(self, session: Session, worker: str, attempt: int) -> WorkerConfig:
        """What a worker program is told by its parent; the parent fills in where and under whom it runs."""
        return WorkerConfig(
            driver=session.location,
            secret=session.secret.reveal(),
            worker=worker,
            attempt=attempt,
            scratch="",
            orphaned="",
            parent=0,
            paths=self._paths(),
            engine=self.engine,
            memory_limit=self._recycling.memory_limit,
            max_units=self._recycling.max_units,
            tls=session.tls,
            hooks=self.hooks,
            hook_data=self.hook_data,
        )

    def _paths(self) -> tuple[str, ...]:
        return (project_path(),)

    def _watch(self, session: Session) -> None:
        """Declare workers lost that say nothing for too long. The only wait with a period: silence has no event."""
        while not session.stopping.wait(self.silence_seconds / 5):
            for worker in session.table.silent(self.silence_seconds):
                _LOGGER.warning("Worker %s was not heard of for %.0f s and is replaced.", worker, self.silence_seconds)
                self._interrupt(worker, force=True)

    def _stop_keepers(self, session: Session, grace: float) -> None:
        for worker in self._names():
            # One that never registered cannot be told, and has nothing to write.
            if not session.table.is_alive(worker):
                self._interrupt(worker, force=True)
        keepers = [keeper for keeper in self._keepers if keeper.ident is not None]
        if _join(keepers, grace):
            return
        for force, seconds in ((False, min(grace, 2.0)), (True, self.stop_seconds)):
            for worker in self._names():
                self._interrupt(worker, force=force)
            if _join(keepers, seconds):
                return
        _LOGGER.error("Some workers did not end: %s.", [keeper.name for keeper in keepers if keeper.is_alive()])


def _join(threads: list[threading.Thread], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def _require_count(name: str, value: object, least: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise ConfigError(f"`{name}` must be a whole number of at least {least}. Received: {name}={value!r}.")
