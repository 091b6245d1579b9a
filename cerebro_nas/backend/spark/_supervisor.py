"""What runs inside a Spark task: a thin supervisor that keeps one worker program alive as its child process.

Spark reuses its Python processes from one job to the next, so TensorFlow must not live in them; the child's end is
the end of everything it loaded.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cerebro_nas.backend._process import WorkerProcess
from cerebro_nas.backend._process import worker_environment
from cerebro_nas.errors import BackendError
from cerebro_nas.worker.link import DriverLink
from cerebro_nas.worker.link import Secret
from cerebro_nas.worker.messages import COMMAND_LIMIT
from cerebro_nas.worker.messages import Died
from cerebro_nas.worker.messages import WorkerConfig
from cerebro_nas.worker.messages import decode

_LOGGER = logging.getLogger(__name__)

# A later program must have a higher attempt than any earlier one under the same name: first by the job that the
# driver submitted, then by Spark's attempt at its task, then by the child of that task.
_PER_JOB = 1_000_000
_PER_TASK = 10_000


def task_function(config: bytes, job: int, threads: int, gpus: int) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """The function of a worker's task.

    It is a closure of plain values, which Spark ships by value, so that an executor needs no installation of this
    package where it can read the driver's directory.
    """
    path = decode(WorkerConfig, config, COMMAND_LIMIT).paths[0]

    def supervise(batches: Iterator[Any]) -> Iterator[Any]:
        import sys

        import pyarrow

        for _ in batches:
            pass
        if path not in sys.path:
            sys.path.append(path)
        from cerebro_nas.backend.spark import _supervisor

        outcome = _supervisor.supervise_worker(config, job, threads, gpus)
        yield pyarrow.RecordBatch.from_pydict({"value": [outcome]})

    return supervise


def first_attempt(job: int, task_attempt: int = 0) -> int:
    """The first attempt that a task's children have."""
    return job * _PER_JOB + task_attempt * _PER_TASK


def supervise_worker(config: bytes, job: int, threads: int, gpus: int) -> str:
    """Keep a worker program running until the driver wants no more of it; return how the last one ended."""
    from pyspark import TaskContext

    base = decode(WorkerConfig, config, COMMAND_LIMIT)
    context = TaskContext.get()
    first = first_attempt(job, context.attemptNumber() if context is not None else 0)
    environment = worker_environment(threads, _gpu_addresses(context, gpus), base.paths)
    link = DriverLink(base.driver, Secret(base.secret), base.tls)
    scratch = _make_scratch(base.worker, first)
    try:
        for attempt in range(first, first + _PER_TASK):
            outcome = _run_one(base, environment, scratch, attempt)
            if not link.died(Died(base.worker, attempt, outcome)).restart:
                return outcome
    finally:
        link.close()
        shutil.rmtree(scratch, ignore_errors=True)
    raise BackendError(f"Worker {base.worker} was replaced too often.")


def _run_one(base: WorkerConfig, environment: dict[str, str], scratch: Path, attempt: int) -> str:
    own = scratch / str(attempt)
    config = dataclasses.replace(
        base,
        attempt=attempt,
        scratch=str(own),
        orphaned=str(scratch),
        parent=os.getpid(),
        # The kernel's signal goes by the *thread* that started the child; this must be one that lasts.
        die_with_parent=threading.current_thread() is threading.main_thread(),
    )
    process = WorkerProcess(config, environment, own.with_suffix(".log"))
    try:
        return process.obituary(process.wait())
    finally:
        process.kill()
        process.clear_away()


def _make_scratch(worker: str, first: int) -> Path:
    # Spark removes its own local directories in the end, even when this process is killed.
    parent = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0]
    usable = parent if parent and os.access(parent, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix=f"cerebro-nas-{worker}-{first}-", dir=usable))


def _gpu_addresses(context: Any, gpus: int) -> str:
    if gpus == 0:
        return "-1"
    resources = context.resources() if context is not None else {}
    addresses = list(resources["gpu"].addresses) if "gpu" in resources else []
    if len(addresses) < gpus:
        raise BackendError(
            f"A worker needs {gpus} GPUs and Spark gave its task {len(addresses)}. Received: gpus_per_worker={gpus}. "
            "Set spark.task.resource.gpu.amount to as many."
        )
    return ",".join(addresses[:gpus])
