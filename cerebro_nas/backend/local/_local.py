"""Workers as processes of this machine. No JVM."""

from __future__ import annotations

import dataclasses
import os
import threading

from cerebro_nas.backend._pool import Recycling
from cerebro_nas.backend._pool import Session
from cerebro_nas.backend._pool import WorkerPool
from cerebro_nas.backend._process import WorkerProcess
from cerebro_nas.backend._process import worker_environment
from cerebro_nas.backend._tls import TlsSetting


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalBackend(WorkerPool):
    """Runs a search on worker processes of this machine.

    A worker that dies is replaced and joins again. The workers die with this process, however it ends; the Ctrl-C of
    a terminal does not reach them.

    Args:
        num_workers: number of worker processes.
        threads_per_worker: threads for one operation of TensorFlow; by default the cores divided by the workers.
        start_timeout: seconds within which the first worker must have registered.
        restart: replace workers that die.
        max_restarts: replacements of one worker, in a row and without a finished unit between them, before it is
            given up.
        min_workers: workers that are enough to go on with, and below which a search waits for more.
            None: one is enough.
        worker_memory_limit: resident bytes above which a worker, after a unit, stores its states and makes way for a
            fresh process. TensorFlow alone takes about half a gigabyte. Needs checkpoints; not a death of the worker.
        max_units_per_worker: units after which it does so.
        tls: encrypt all calls, and ask both sides for a certificate. True makes one for each search, in memory; a
            `TlsConfig` names your own. Needs `pip install -e ".[tls]"`.
    """

    def __init__(
        self,
        num_workers: int = 2,
        *,
        threads_per_worker: int | None = None,
        start_timeout: float = 120.0,
        restart: bool = True,
        max_restarts: int = 3,
        min_workers: int | None = None,
        worker_memory_limit: int | None = None,
        max_units_per_worker: int | None = None,
        tls: TlsSetting = False,
    ) -> None:
        super().__init__(
            num_workers,
            threads_per_worker=threads_per_worker,
            start_timeout=start_timeout,
            max_restarts=max_restarts if restart else 0,
            min_workers=min_workers,
            recycling=Recycling(worker_memory_limit, max_units_per_worker),
            tls=tls,
        )
        self._processes_lock = threading.Lock()
        self._processes: dict[str, WorkerProcess] = {}

    def __repr__(self) -> str:
        return f"LocalBackend(num_workers={self._num_workers})"

    def check(self) -> None:
        """Nothing to check: any number of processes can be started."""

    def _addresses(self) -> tuple[str, str]:
        return "127.0.0.1", "127.0.0.1"

    def _threads(self) -> int:
        return self._threads_per_worker or max(1, available_cores() // self._num_workers)

    def _keeper(self, session: Session, worker: str) -> threading.Thread:
        return threading.Thread(target=self._keep, args=(session, worker), name=f"cerebro-keeper-{worker}", daemon=True)

    def _keep(self, session: Session, worker: str) -> None:
        attempt = 0
        while True:
            process = self._launch(session, worker, attempt)
            if process is None:
                return
            code = process.wait()
            with self._processes_lock:
                self._processes.pop(worker, None)
            reason = process.obituary(code)
            process.clear_away()
            if not session.table.died(worker, attempt, reason):
                return
            attempt += 1

    def _launch(self, session: Session, worker: str, attempt: int) -> WorkerProcess | None:
        own = session.scratch.path / f"{worker}-{attempt}"
        config = dataclasses.replace(
            self._worker_config(session, worker, attempt),
            scratch=str(own),
            orphaned=str(session.scratch.path),
            parent=os.getpid(),
        )
        environment = worker_environment(self._threads(), self._gpus(worker), config.paths)
        # Under the lock, so that stop() either sees the process or keeps it from being started.
        with self._processes_lock:
            if session.stopping.is_set():
                return None
            process = WorkerProcess(config, environment, own.with_suffix(".log"))
            self._processes[worker] = process
        return process

    def _gpus(self, worker: str) -> str:
        visible = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
        if not visible or visible == ["-1"]:
            return "-1"
        return visible[int(worker[1:]) % len(visible)]

    def _interrupt(self, worker: str, *, force: bool) -> None:
        with self._processes_lock:
            process = self._processes.get(worker)
        if process is not None:
            if force:
                process.kill()
            else:
                process.terminate()
