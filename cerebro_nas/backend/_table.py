"""What a driver knows of its workers: who is alive, what waits for whom, what has happened. No network, no process."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field

from cerebro_nas.backend._base import BackendEvent
from cerebro_nas.backend._base import BackendUsage
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import ProtocolError
from cerebro_nas.errors import WorkerLostError
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.worker.link import SupersededError
from cerebro_nas.worker.messages import CommandMessage
from cerebro_nas.worker.messages import Commands
from cerebro_nas.worker.messages import Done
from cerebro_nas.worker.messages import Failed
from cerebro_nas.worker.messages import Heartbeat
from cerebro_nas.worker.messages import Leaving
from cerebro_nas.worker.messages import Numbered
from cerebro_nas.worker.messages import Poll
from cerebro_nas.worker.messages import Register
from cerebro_nas.worker.messages import Report
from cerebro_nas.worker.messages import Stored

_LOGGER = logging.getLogger(__name__)


@dataclass
class _Entry:
    """One worker name, and the program that serves under it now."""

    changed: threading.Condition
    attempt: int = -1
    floor: int = 0
    pid: int = 0
    alive: bool = False
    joins: int = 0
    announced: int = 0
    restarts: int = 0
    location: str = ""
    heard: float = 0.0
    sent: int = 0
    outbox: deque[Numbered] = field(default_factory=deque)
    reports: int = 0
    progress: int = 0
    busy: bool = False
    moved: float = 0.0
    excused: bool = False
    lost_because: str = ""
    peak_memory_bytes: int = 0


class WorkerTable:
    """The workers of one search. Safe to use from any thread; waiting is by conditions only.

    Args:
        names: the workers.
        max_restarts: replacements of a worker, in a row and without a finished unit between them, before it is
            given up.
        clock: seconds, monotonic.
    """

    def __init__(self, names: list[str], max_restarts: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._happened = threading.Condition(self._lock)
        self._entries = {name: _Entry(threading.Condition(self._lock)) for name in names}
        self._events: deque[BackendEvent] = deque()
        self._max_restarts = max_restarts
        self._clock = clock
        self._stopping = False
        self._closed = False
        self._given_up: dict[str, str] = {}
        self._bytes_hopped = 0

    # --- what workers say --------------------------------------------------------------------------------------------

    def register(self, message: Register) -> None:
        """Take a worker in. A later attempt replaces an earlier one; the same one may say it twice."""
        with self._lock:
            entry = self._entry(message.worker)
            if self._stopping:
                raise SupersededError("The search is over.")
            if entry.alive and (message.attempt, message.pid) == (entry.attempt, entry.pid):
                entry.heard = self._clock()
                return
            if message.attempt <= entry.attempt or message.attempt < entry.floor:
                raise SupersededError(f"Attempt {entry.attempt} of {message.worker} took the place of this one.")
            self._lose(message.worker, entry, "another process took its place")
            entry.attempt, entry.pid, entry.location = message.attempt, message.pid, message.location
            entry.alive, entry.heard, entry.reports, entry.sent = True, self._clock(), 0, 0
            entry.busy, entry.excused, entry.progress, entry.moved = False, False, 0, entry.heard
            entry.joins += 1
            self._events.append(WorkerJoined(message.worker, entry.joins - 1))
            self._happened.notify_all()

    def poll(self, message: Poll, seconds: float) -> Commands:
        """Hand out what waits for a worker, waiting up to `seconds` for it."""
        with self._lock:
            entry = self._current(message.worker, message.attempt)
            while entry.outbox and entry.outbox[0].number <= message.seen:
                entry.outbox.popleft()
            entry.changed.wait_for(
                lambda: bool(entry.outbox) or self._closed or not entry.alive or entry.attempt != message.attempt,
                seconds,
            )
            return Commands(tuple(self._current(message.worker, message.attempt).outbox))

    def report(self, message: Report) -> None:
        """Take one piece of news, unless it is known already."""
        with self._lock:
            self._warn_of_late(message)
            entry = self._current(message.worker, message.attempt)
            if message.number <= entry.reports:
                return
            if message.number != entry.reports + 1:
                raise ProtocolError(f"Report {entry.reports + 1} comes next. Received: number={message.number}.")
            entry.reports = message.number
            event = self._event(message, entry)
            if event is not None:
                self._events.append(event)
                self._happened.notify_all()

    def heartbeat(self, message: Heartbeat) -> None:
        """Note that a worker lives, and whether it gets on."""
        with self._lock:
            entry = self._current(message.worker, message.attempt)
            if (message.progress, message.busy) != (entry.progress, entry.busy):
                entry.progress, entry.busy, entry.moved = message.progress, message.busy, entry.heard
            entry.peak_memory_bytes = max(entry.peak_memory_bytes, message.peak_memory_bytes)

    def died(self, worker: str, attempt: int | None, reason: str) -> bool:
        """Note that a worker program ended (None: whichever served last); say whether to start a replacement."""
        with self._lock:
            entry = self._entry(worker)
            if attempt is not None and attempt < max(entry.attempt, entry.floor):
                return False
            attempt = entry.attempt if attempt is None else attempt
            # Whatever that attempt still says comes too late, also if it never registered.
            self._lose(worker, entry, reason)
            entry.attempt = attempt
            if self._stopping or worker in self._given_up:
                return False
            if entry.excused:
                entry.excused = False
                return True
            entry.restarts += 1
            if entry.restarts <= self._max_restarts:
                _LOGGER.warning("Worker %s ended and is replaced: %s", worker, reason)
                return True
            self._given_up[worker] = reason
            _LOGGER.error("Worker %s ended %s times in a row and is given up: %s", worker, entry.restarts, reason)
            self._happened.notify_all()
            return False

    # --- what the search says ----------------------------------------------------------------------------------------

    def submit(self, worker: str, command: CommandMessage) -> None:
        """Queue a command. For a worker lost in the meantime it is void, as the search will read in its events."""
        with self._lock:
            entry = self._entries.get(worker)
            if entry is None or entry.announced == 0:
                raise BackendError(f"`worker` must be one that has joined. Received: worker={worker!r}.")
            # A program whose registration the search has not read yet must not get its predecessor's commands.
            if entry.alive and entry.announced == entry.joins:
                self._send(entry, command)

    def location(self, worker: str | None) -> str | None:
        """Where a live worker serves states."""
        with self._lock:
            entry = self._entries.get(worker or "")
            return entry.location if entry is not None and entry.alive else None

    def take(self, timeout: float) -> list[BackendEvent]:
        """Return what happened, waiting up to `timeout` seconds for something."""
        with self._lock:
            self._happened.wait_for(lambda: bool(self._events) or self._closed or self._all_given_up(), timeout)
            events = list(self._events)
            self._events.clear()
            for event in events:
                if isinstance(event, WorkerJoined):
                    self._entries[event.worker].announced = event.attempt + 1
            if not events and self._all_given_up():
                worker, reason = next(iter(self._given_up.items()))
                raise WorkerLostError(
                    f"No worker could be kept running; each was replaced {self._max_restarts} times in a row. What has "
                    f"been committed is kept: mend the cause and run the search again. The last of {worker}: {reason}"
                )
            return events

    def dismiss(self, worker: str, reason: str) -> bool:
        """Declare a worker lost that is to be replaced on purpose; say whether it was there."""
        with self._lock:
            entry = self._entries.get(worker)
            if entry is None or entry.joins == 0:
                raise BackendError(f"`worker` must be one that has joined. Received: worker={worker!r}.")
            alive = entry.alive
            if alive:
                entry.excused = True
                self._lose(worker, entry, reason)
            return alive

    def refuse_below(self, worker: str, attempt: int) -> None:
        """Take no earlier attempt in from now on, and have none of them replaced by whoever supervises it."""
        with self._lock:
            entry = self._entry(worker)
            entry.floor = max(entry.floor, attempt)

    def silent(self, seconds: float) -> list[str]:
        """Declare lost, and name, the workers not heard of for `seconds`."""
        with self._lock:
            limit = self._clock() - seconds
            late = [name for name, entry in self._entries.items() if entry.alive and entry.heard < limit]
            for name in late:
                self._lose(name, self._entries[name], f"not heard of for {seconds:.0f} s")
            return late

    def stop(self, command: CommandMessage) -> None:
        """Send `command` to every live worker; from now on deaths are expected and nobody may register."""
        with self._lock:
            self._stopping = True
            for entry in self._entries.values():
                if entry.alive:
                    self._send(entry, command)

    def close(self) -> list[BackendEvent]:
        """End every wait; return what happened and was not taken."""
        with self._lock:
            self._stopping = self._closed = True
            for entry in self._entries.values():
                entry.changed.notify_all()
            self._happened.notify_all()
            events = list(self._events)
            self._events.clear()
            return events

    # --- what is known -----------------------------------------------------------------------------------------------

    @property
    def joined(self) -> int:
        """Registrations so far, of all workers together."""
        with self._lock:
            return sum(entry.joins for entry in self._entries.values())

    def is_alive(self, worker: str) -> bool:
        """Whether a program serves under this name now."""
        with self._lock:
            return self._entries[worker].alive

    def stalled(self, worker: str) -> float | None:
        """Seconds since a worker's progress last changed; None: it is lost, or has nothing to do."""
        with self._lock:
            entry = self._entries.get(worker)
            return self._clock() - entry.moved if entry is not None and entry.alive and entry.busy else None

    def usage(self) -> BackendUsage:
        """Bytes and memory that the workers reported."""
        with self._lock:
            peaks = {name: entry.peak_memory_bytes for name, entry in self._entries.items() if entry.joins}
            return BackendUsage(self._bytes_hopped, peaks)

    # --- parts; the lock is held -------------------------------------------------------------------------------------

    def _all_given_up(self) -> bool:
        return len(self._given_up) == len(self._entries)

    def _entry(self, worker: str) -> _Entry:
        entry = self._entries.get(worker)
        if entry is None:
            raise ProtocolError(f"No worker has this name. Received: worker={worker[:40]!r}.")
        return entry

    def _current(self, worker: str, attempt: int) -> _Entry:
        entry = self._entry(worker)
        if not entry.alive or entry.attempt != attempt or self._closed:
            raise SupersededError(f"Attempt {attempt} of {worker} is not wanted any more.")
        entry.heard = self._clock()
        return entry

    def _send(self, entry: _Entry, command: CommandMessage) -> None:
        entry.sent += 1
        entry.outbox.append(Numbered(entry.sent, command))
        entry.changed.notify_all()

    def _lose(self, worker: str, entry: _Entry, reason: str, planned: bool = False) -> None:
        if entry.alive:
            entry.alive, entry.lost_because = False, reason
            entry.outbox.clear()
            entry.changed.notify_all()
            if not self._stopping:
                self._events.append(WorkerLost(worker, reason, planned))
                self._happened.notify_all()

    def _warn_of_late(self, message: Report) -> None:
        """Say so where a worker that was given up for lost reports a unit after all: it has run elsewhere since."""
        entry = self._entry(message.worker)
        if self._stopping or (entry.alive and entry.attempt == message.attempt):
            return
        if isinstance(message.news, Done | Failed):
            current = f"attempt {entry.attempt} serves now" if entry.alive else f"it was lost: {entry.lost_because}"
            _LOGGER.warning(
                "A report of %s from attempt %d of worker %s comes too late and is refused; %s.",
                message.news.unit,
                message.attempt,
                message.worker,
                current,
            )

    def _event(self, message: Report, entry: _Entry) -> BackendEvent | None:
        news = message.news
        if isinstance(news, Done):
            entry.restarts = 0
            self._bytes_hopped += int(news.report.detail.get("bytes_hopped", 0))
            peak = int(news.report.detail.get("peak_memory_bytes", 0))
            entry.peak_memory_bytes = max(entry.peak_memory_bytes, peak)
            return UnitDone(message.worker, news.unit, news.report)
        if isinstance(news, Failed):
            return UnitFailed(message.worker, news.unit, news.reason, news.message, news.trial_fault)
        if isinstance(news, Stored):
            return StateStored(news.unit, news.generation, news.name)
        if isinstance(news, Leaving):
            _LOGGER.info("Worker %s makes way for a fresh one: %s", message.worker, news.reason)
            entry.excused = True
            self._lose(message.worker, entry, news.reason, planned=True)
            return None
        _LOGGER.warning("Worker %s: %s", message.worker, news.message)
        return None
