"""Writes states to the store behind the training loop's back, for no more than a share of the training's time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Protocol

from cerebro_nas.errors import StoreError
from cerebro_nas.worker._write_budget import WriteBudget

if TYPE_CHECKING:
    from cerebro_nas.hopper import Unit

_LOGGER = logging.getLogger(__name__)

_HELD_BYTES = 2**30
_TELL_AGAIN_SECONDS = 60.0


class StateStore(Protocol):
    """What is asked of `cerebro_nas.storage.StateFiles`."""

    def write(self, trial: str, generation: int, payload: bytes) -> str:
        """Write one state, whole or not at all, and give it a name."""

    def read(self, trial: str, name: str) -> bytes:
        """Read one state."""


@dataclass(frozen=True)
class _State:
    unit: Unit
    generation: int
    payload: bytes


@dataclass
class _Trial:
    """States of a trial that are not written: those to be kept, and the newest one after them."""

    ends: list[_State] = field(default_factory=list)
    newest: _State | None = None

    def states(self) -> list[_State]:
        return [*self.ends, *([self.newest] if self.newest is not None else [])]


class Checkpoints:
    """A thread that writes the states of trials.

    A state that is to be kept, one at the end of an epoch, is always written: the best of a trial is one of these, and
    it is what the search gives in the end. Any other one is written if the budget allows it before the next one comes;
    if it does not, the newest waits for the budget, for `flush`, or to be superseded.

    A write that fails is told and tried again when there is something new to write.

    Args:
        store: where to write.
        stored: called with the unit that made a state, its generation and its name after each write.
        failed: called with a message when writes fail, not again for the same cause within a minute.
        budget: says what writing may cost.
    """

    def __init__(
        self,
        store: StateStore,
        stored: Callable[[Unit, int, str], None],
        failed: Callable[[str], None],
        budget: WriteBudget | None = None,
    ) -> None:
        self._store = store
        self._stored = stored
        self._failed = failed
        self._budget = WriteBudget() if budget is None else budget
        self._changed = threading.Condition()
        self._waiting: dict[str, _Trial] = {}
        self._writing: _State | None = None
        self._refused: set[str] = set()
        self._chances = 0
        self._told: dict[object, float] = {}
        self._flushing = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def put(self, unit: Unit, generation: int, payload: bytes, seconds: float, *, keep: bool) -> None:
        """Take the state that a train unit made in so many seconds; return at once."""
        state = _State(unit, generation, payload)
        with self._changed:
            self._budget.earn(seconds)
            self._forgive()
            waiting = self._waiting.setdefault(unit.trial, _Trial())
            if keep:
                waiting.ends.append(state)
                waiting.newest = None
            else:
                waiting.newest = state
            given_up = self._limit(state)
            self._changed.notify_all()
        for old in given_up:
            self._tell("full", f"State {old.generation} of trial {old.unit.trial} was given up: too many wait.")

    def forget(self, trial: str) -> None:
        """Write no state of this trial any more but ends of epochs: another worker has a newer one, or it has ended."""
        with self._changed:
            if trial in self._waiting:
                self._waiting[trial].newest = None
                self._tidy(trial)

    def flush(self, grace: float) -> bool:
        """Write the newest state of every trial, for at most `grace` seconds; say whether all are in the store."""
        with self._changed:
            self._flushing += 1
            self._forgive()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._writing is None and self._next() is None, grace)
            self._flushing -= 1
            return self._writing is None and not self._waiting

    def close(self, grace: float) -> bool:
        """Flush, and end the thread; say whether all is in the store."""
        done = self.flush(grace)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        return done

    # --- all below: with the lock held, or in the thread --------------------------------------------------------------

    def _forgive(self) -> None:
        """Something is new, so what failed gets another chance, also if it is failing just now."""
        self._refused.clear()
        self._chances += 1

    def _next(self) -> _State | None:
        """What is to be written now: ends of epochs first, then what has waited longest."""
        trials = [waiting for trial, waiting in self._waiting.items() if trial not in self._refused]
        for waiting in trials:
            if waiting.ends:
                return waiting.ends[0]
        for waiting in trials:
            if waiting.newest is not None and (self._flushing or self._budget.allows(len(waiting.newest.payload))):
                return waiting.newest
        return None

    def _limit(self, new: _State) -> list[_State]:
        """Give up the oldest states where a store that fails or stalls would let them fill the memory."""
        states = [state for waiting in self._waiting.values() for state in waiting.states()]
        excess = sum(len(state.payload) for state in states) - _HELD_BYTES
        given_up = []
        for state in states:
            if excess > 0 and state is not self._writing and state is not new:
                self._settle(state)
                given_up.append(state)
                excess -= len(state.payload)
        return given_up

    def _settle(self, state: _State) -> None:
        """This state need not be written any more."""
        waiting = self._waiting.get(state.unit.trial)
        if waiting is None:
            return
        waiting.ends = [end for end in waiting.ends if end is not state]
        if waiting.newest is state:
            waiting.newest = None
        self._tidy(state.unit.trial)

    def _tidy(self, trial: str) -> None:
        if not self._waiting[trial].states():
            del self._waiting[trial]

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next() is not None)
                if self._closed:
                    return
                self._writing, chances = self._next(), self._chances
                state = self._writing
            if state is not None:
                written = self._write(state)
                with self._changed:
                    self._writing = None
                    if written:
                        self._settle(state)
                    elif chances == self._chances:
                        self._refused.add(state.unit.trial)
                    self._changed.notify_all()

    def _write(self, state: _State) -> bool:
        trial, generation = state.unit.trial, state.generation
        wall, cpu = time.monotonic(), time.thread_time()
        try:
            name = self._store.write(trial, generation, state.payload)
        except (StoreError, OSError) as error:
            self._tell(error.errno or type(error), f"State {generation} of trial {trial} was not stored: {error}")
            return False
        else:
            self._stored(state.unit, generation, name)
            return True
        finally:
            busy = time.thread_time() - cpu
            self._budget.spend(len(state.payload), busy, max(0.0, time.monotonic() - wall - busy))

    def _tell(self, cause: object, message: str) -> None:
        now = time.monotonic()
        _LOGGER.warning("%s", message)
        if now - self._told.get(cause, -_TELL_AGAIN_SECONDS) >= _TELL_AGAIN_SECONDS:
            self._told[cause] = now
            self._failed(message)
