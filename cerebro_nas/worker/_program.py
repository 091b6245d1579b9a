"""The worker program: one process that runs units until it is told to stop, or nobody is left to tell it.

Three threads beside the main one, which runs the units: one waits for commands, one shows signs of life, and one
watches standard input, whose end means that the parent process died.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import queue
import resource
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import NoReturn
from typing import TypeVar

from cerebro_nas.errors import AuthenticationError
from cerebro_nas.errors import CerebroNasError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import ProtocolError
from cerebro_nas.errors import StoreError
from cerebro_nas.hopper import Unit
from cerebro_nas.worker._checkpoints import Checkpoints
from cerebro_nas.worker._checkpoints import StateStore
from cerebro_nas.worker._errors import UnusableStateError
from cerebro_nas.worker._hooks import Hooks
from cerebro_nas.worker._hooks import InjectedFailureError
from cerebro_nas.worker._hooks import load_hooks
from cerebro_nas.worker._imports import left_out
from cerebro_nas.worker._memory import keep_freed_memory
from cerebro_nas.worker._memory import resident_memory_bytes
from cerebro_nas.worker._spec import SearchSpec
from cerebro_nas.worker._user_modules import import_user_modules
from cerebro_nas.worker.link import DriverLink
from cerebro_nas.worker.link import Peers
from cerebro_nas.worker.link import Secret
from cerebro_nas.worker.link import States
from cerebro_nas.worker.link import StateServer
from cerebro_nas.worker.link import SupersededError
from cerebro_nas.worker.link import UnreachableError
from cerebro_nas.worker.link import own_address
from cerebro_nas.worker.messages import COMMAND_LIMIT
from cerebro_nas.worker.messages import Commands
from cerebro_nas.worker.messages import Done
from cerebro_nas.worker.messages import DropMessage
from cerebro_nas.worker.messages import Failed
from cerebro_nas.worker.messages import Heartbeat
from cerebro_nas.worker.messages import Leaving
from cerebro_nas.worker.messages import LoadMessage
from cerebro_nas.worker.messages import Poll
from cerebro_nas.worker.messages import Register
from cerebro_nas.worker.messages import Report
from cerebro_nas.worker.messages import RunMessage
from cerebro_nas.worker.messages import StopMessage
from cerebro_nas.worker.messages import Stored
from cerebro_nas.worker.messages import Warned
from cerebro_nas.worker.messages import WorkerConfig
from cerebro_nas.worker.messages import decode

_LOGGER = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 2.0
_LONELY_SECONDS = 30.0
_RETRY_SECONDS = 0.25
_LEAVE_SECONDS = 20.0
_STAY_SECONDS = 60.0
_MESSAGE_LIMIT = 8000
_PR_SET_PDEATHSIG = 1

EXIT_STOPPED = 0
EXIT_SUPERSEDED = 3
EXIT_ALONE = 4
EXIT_RECYCLED = 5
_REMOVALS = 50

T = TypeVar("T")


class _StateMissing(Exception):
    """Neither a worker nor the store has the state that a unit starts from."""


def main() -> int:
    """Run the program; see the module's text."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = decode(WorkerConfig, sys.stdin.buffer.readline(), COMMAND_LIMIT)
    _die_with_parent(config)
    if not _make_scratch(config):
        return EXIT_ALONE
    threading.Thread(target=_watch_parent, args=(config,), name="parent", daemon=True).start()
    sys.path[:0] = [path for path in config.paths if path not in sys.path]
    # TensorFlow leaves a file for every function that it traces, to be removed at an exit that workers never come to.
    os.environ["TMPDIR"] = tempfile.tempdir = config.scratch
    keep_freed_memory()
    module, name = config.engine.split(":")
    # The long part of a start is this import, so it comes before the driver counts on this worker.
    with left_out():
        engine_class = getattr(importlib.import_module(module), name)
    hooks = load_hooks(config.hooks, config.hook_data, config.worker)
    hooks.before_join()
    return _Worker(config, hooks).run(engine_class)


def _die_with_parent(config: WorkerConfig) -> None:
    if not config.die_with_parent or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != config.parent:
        os._exit(EXIT_ALONE)


def _watch_parent(config: WorkerConfig) -> None:
    # The descriptor itself: a thread inside a buffered reader would hold its lock when the interpreter ends.
    while os.read(0, 4096):
        pass
    _remove_orphaned(Path(config.orphaned))
    os._exit(EXIT_ALONE)


def _make_scratch(config: WorkerConfig) -> bool:
    # Not with its parents: where another worker has removed them the driver is dead, and nobody would do so again.
    try:
        Path(config.scratch).mkdir(exist_ok=True)
    except FileNotFoundError:
        return False
    return True


def _remove_orphaned(folder: Path) -> None:
    # What is written meanwhile, by other workers or by another thread here, makes an attempt fail.
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.02)


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _Worker:
    def __init__(self, config: WorkerConfig, hooks: Hooks) -> None:
        self._config = config
        self._hooks = hooks
        secret = Secret(config.secret)
        self._link = DriverLink(config.driver, secret, config.tls)
        self._states = States()
        self._server = StateServer(own_address(config.driver), secret, self._states, config.tls)
        self._peers = Peers(secret, config.tls)
        self._inbox: queue.SimpleQueue[RunMessage | DropMessage | LoadMessage] = queue.SimpleQueue()
        self._reporting = threading.Lock()
        self._reports = 0
        self._bytes_hopped = 0
        self._heard = time.monotonic()
        self._engine: Any = None
        self._store: StateStore | None = None
        self._checkpoints: Checkpoints | None = None
        self._busy = False
        self._units = 0
        self._damage = ""
        self._stays_until = 0.0
        self._leaving = False

    def run(self, engine_class: Callable[[SearchSpec, Path], Any]) -> NoReturn:
        config = self._config
        hello = Register(config.worker, config.attempt, os.getpid(), socket.gethostname(), self._server.location)
        search = self._join(hello)
        self._thread(self._beat)
        self._open_store(search)
        import_user_modules(search.imports)
        self._engine = engine_class(search, Path(config.scratch))
        self._thread(self._listen)
        while True:
            message = self._inbox.get()
            self._busy = True
            if isinstance(message, DropMessage):
                self._states.drop(message.trial)
                if self._checkpoints is not None:
                    self._checkpoints.forget(message.trial)
            elif isinstance(message, LoadMessage):
                self._load(message)
            else:
                self._tell(self._outcome(message))
                self._busy = False
                self._recycle()
            self._busy = False

    def _join(self, hello: Register) -> SearchSpec:
        text = ""
        while not text:
            text = self._insist(self._link.register, hello).search
        return SearchSpec.from_json(text)

    def _load(self, message: LoadMessage) -> None:
        try:
            self._engine.preload(message.split, message.index)
        except (CerebroNasError, MemoryError) as error:
            # The unit that needs the shard meets the same error, and tells the scheduler.
            _LOGGER.warning("Shard %s %s could not be loaded ahead: %s", message.split, message.index, error)

    def _open_store(self, search: SearchSpec) -> None:
        if not search.state_url:
            return
        from cerebro_nas.storage import StateFiles

        self._store = self._hooks.open_store(StateFiles(search.state_url), search.state_url)
        if search.checkpoint:
            self._checkpoints = Checkpoints(
                self._store,
                lambda unit, generation, name: self._tell(Stored(unit, generation, name)),
                lambda message: self._tell(Warned(message[:_MESSAGE_LIMIT])),
            )

    def _thread(self, target: Callable[[], None]) -> None:
        threading.Thread(target=self._guarded, args=(target,), name=target.__name__.strip("_"), daemon=True).start()

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException:
            _LOGGER.exception("This worker cannot go on.")
            self._exit(1)

    # --- talking -----------------------------------------------------------------------------------------------------

    def _insist(self, call: Callable[[Any], T], message: Any) -> T:
        """Make a call, again while the driver does not answer; end the program when there is no point in it."""
        while True:
            try:
                answer = call(message)
            except UnreachableError as error:
                if time.monotonic() - self._heard > _LONELY_SECONDS:
                    _LOGGER.error("%s", error)
                    self._exit(EXIT_ALONE)
                threading.Event().wait(_RETRY_SECONDS)
            except SupersededError as error:
                _LOGGER.info("%s", error)
                # Another thread may have said goodbye in the meantime.
                self._exit(EXIT_RECYCLED if self._leaving else EXIT_SUPERSEDED)
            except (AuthenticationError, ProtocolError) as error:
                _LOGGER.error("%s", error)
                self._exit(1)
            else:
                self._heard = time.monotonic()
                return answer

    def _tell(self, news: Done | Failed | Stored | Warned | Leaving) -> None:
        with self._reporting:
            self._reports += 1
            self._insist(self._link.report, Report(self._config.worker, self._config.attempt, self._reports, news))

    def _beat(self) -> None:
        pause = threading.Event()
        while True:
            progress = int(getattr(self._engine, "progress", 0))
            beat = Heartbeat(self._config.worker, self._config.attempt, progress, self._busy, peak_memory_bytes())
            self._insist(self._link.heartbeat, beat)
            pause.wait(HEARTBEAT_SECONDS)

    def _listen(self) -> None:
        seen = 0
        while True:
            answer: Commands = self._insist(self._link.poll, Poll(self._config.worker, self._config.attempt, seen))
            for numbered in answer.commands:
                if numbered.number <= seen:
                    continue
                seen = numbered.number
                if isinstance(numbered.command, StopMessage):
                    self._stop(numbered.command.grace)
                else:
                    self._inbox.put(numbered.command)

    def _stop(self, grace: float) -> NoReturn:
        # A unit that still runs is abandoned: nobody waits for its result any more.
        if self._checkpoints is not None and not self._checkpoints.close(grace):
            _LOGGER.warning("Stopped before every state was stored.")
        self._exit(EXIT_STOPPED)

    def _recycle(self) -> None:
        """After a unit: make way for a fresh process if there is a reason to."""
        self._units += 1
        reason = self._damage or self._reason_to_leave()
        if not reason:
            return
        stored = self._checkpoints is None or self._checkpoints.flush(_LEAVE_SECONDS)
        if not stored and not self._damage:
            # What it holds exists nowhere else; in a while the store may be well again.
            self._stays_until = time.monotonic() + _STAY_SECONDS
            _LOGGER.warning("This worker stays although %s: its states could not all be stored.", reason)
            return
        self._leaving = True
        self._tell(Leaving(reason))
        self._exit(EXIT_RECYCLED)

    def _reason_to_leave(self) -> str:
        limit, units = self._config.memory_limit, self._config.max_units
        if self._checkpoints is None or time.monotonic() < self._stays_until:
            # The states that it holds would be lost.
            return ""
        if units is not None and self._units >= units:
            return f"it has run {self._units} units"
        size = 0 if limit is None else resident_memory_bytes()
        if limit is None or size <= limit:
            return ""
        return f"its memory is {size >> 20} MB, and {limit >> 20} MB are allowed"

    def _exit(self, code: int) -> NoReturn:
        # Not sys.exit: TensorFlow's teardown takes long, and a unit may be running in the main thread.
        logging.shutdown()
        shutil.rmtree(self._config.scratch, ignore_errors=True)
        os._exit(code)

    # --- working -----------------------------------------------------------------------------------------------------

    def _outcome(self, message: RunMessage) -> Done | Failed:
        # Only here is the engine's module sure to be loaded, and the error with it.
        from cerebro_nas.worker import CandidateError

        self._bytes_hopped = 0
        try:
            return self._run(message)
        except CandidateError as error:
            if error.reason == "oom":
                return self._out_of_memory(message.unit, error)
            return Failed(message.unit, error.reason, str(error)[:_MESSAGE_LIMIT], trial_fault=True)
        except MemoryError as error:
            return self._out_of_memory(message.unit, error)
        except UnusableStateError as error:
            # It may be what this worker holds; the next one who asks shall not get it again.
            self._states.drop(message.unit.trial)
            return Failed(message.unit, "state_missing", str(error)[:_MESSAGE_LIMIT], trial_fault=False)
        except InjectedFailureError as error:
            return Failed(message.unit, error.reason, str(error), error.trial_fault)
        except _StateMissing as error:
            return Failed(message.unit, "state_missing", str(error)[:_MESSAGE_LIMIT], trial_fault=False)
        except Exception as error:
            # Whatever else happens is this worker's trouble, and must reach the scheduler rather than end the process.
            _LOGGER.exception("Unit %s failed.", message.unit)
            lines = f"{type(error).__name__}: {error}\n" + "".join(traceback.format_exc(limit=-6))
            return Failed(message.unit, "error", lines[:_MESSAGE_LIMIT], trial_fault=False)

    def _out_of_memory(self, unit: Unit, error: Exception) -> Failed:
        """It may be the candidate, or what this process has piled up: a fresh one will tell, so this one ends."""
        self._damage = f"it ran out of memory in trial {unit.trial}"
        return Failed(unit, "oom", (str(error) or type(error).__name__)[:_MESSAGE_LIMIT], trial_fault=False)

    def _run(self, message: RunMessage) -> Done:
        unit = message.unit
        self._hooks.before_unit(unit)
        with self._hooks.during(unit, lambda: int(getattr(self._engine, "progress", 0))):
            state = message.state.generation
            result = self._engine.run(unit, message.spec, state, lambda: self._fetch(message), message.sums)
        result = self._hooks.after_unit(unit, result)
        if result.state is not None:
            self._states.put(unit.trial, result.generation, result.state)
            if self._checkpoints is not None and unit.phase == "train":
                keep = message.keep
                self._checkpoints.put(unit, result.generation, result.state, result.report.seconds, keep=keep)
        detail = {
            **result.report.detail,
            "bytes_hopped": float(self._bytes_hopped),
            "peak_memory_bytes": float(peak_memory_bytes()),
        }
        self._hooks.before_commit(unit)
        return Done(unit, replace(result.report, detail=detail))

    def _fetch(self, message: RunMessage) -> bytes:
        trial, state = message.unit.trial, message.state
        if state.generation == 0:
            return self._fetch_parent(message)
        held = self._states.get(trial, state.generation)
        if held is not None:
            return held
        payload = self._fetch_from_peer(message) or self._fetch_from_store(message)
        if payload is None:
            where = "in no store" if self._store is None else "not in the store"
            raise _StateMissing(f"State {state.generation} of trial {trial} is {where} and no worker has it.")
        self._bytes_hopped += len(payload)
        # From now on the scheduler takes this worker for the holder, also after a unit that changes nothing.
        self._states.put(trial, state.generation, payload)
        return payload

    def _fetch_parent(self, message: RunMessage) -> bytes:
        spec = message.spec
        if self._store is None:
            raise _StateMissing(f"Trial {spec.trial} begins with one of trial {spec.parent}, and there is no store.")
        try:
            return self._store.read(spec.parent, spec.parent_state)
        except StoreError as error:
            raise _StateMissing(f"Trial {spec.trial} begins with a state of trial {spec.parent}: {error}") from error

    def _fetch_from_peer(self, message: RunMessage) -> bytes | None:
        if message.peer is None:
            return None
        try:
            return self._peers.fetch(message.peer, message.unit.trial, message.state.generation)
        except UnreachableError as error:
            _LOGGER.warning("%s", error)
            return None

    def _fetch_from_store(self, message: RunMessage) -> bytes | None:
        # Only what the driver took in: another state of this generation may be of a lineage that was given up. It was
        # there before the driver knew its name, and nobody looked for it before, so there is nothing to wait for.
        trial, state = message.unit.trial, message.state
        if self._store is None or not state.stored:
            return None
        try:
            return self._store.read(trial, state.stored)
        except CorruptStateError as error:
            raise _StateMissing(
                f"State {state.generation} of trial {trial} is corrupt in the store, and no worker has it: {error} "
                "The trial goes on from the state stored before it, or from its initial weights."
            ) from error
        except StoreError as error:
            _LOGGER.warning("%s", error)
            return None
