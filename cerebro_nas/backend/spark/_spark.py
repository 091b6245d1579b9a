"""Workers as long-lived, plain (not barrier) Spark tasks, one job each."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import uuid
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.backend._pool import Recycling
from cerebro_nas.backend._pool import Session
from cerebro_nas.backend._pool import WorkerPool
from cerebro_nas.backend._tls import TlsSetting
from cerebro_nas.backend.spark._environment import check_environment
from cerebro_nas.backend.spark._slots import Cluster
from cerebro_nas.backend.spark._slots import inspect_cluster
from cerebro_nas.backend.spark._slots import setting
from cerebro_nas.backend.spark._supervisor import first_attempt
from cerebro_nas.backend.spark._supervisor import task_function
from cerebro_nas.backend.spark._unlogged import unlogged
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import ConfigError
from cerebro_nas.worker.link import listening_address
from cerebro_nas.worker.link import own_address
from cerebro_nas.worker.messages import encode

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

_LOGGER = logging.getLogger(__name__)
_REASON_LENGTH = 500
_ERROR_LINE = re.compile(r"[\w.]*(?:Error|Exception): .+")


class SparkBackend(WorkerPool):
    """Runs a search on the executors of a Spark session, classic or Spark Connect.

    Each worker is one Spark job of one task, which occupies one slot from `start` to `stop` and supervises the worker
    program. Workers connect out to this process; it listens on one authenticated port, at the address that Spark
    uses for the driver (`spark.driver.host`). The secret of a search reaches the executors inside the task: on a
    cluster set `spark.authenticate` and `spark.network.crypto.enabled`, so that nobody reads it on the way.

    Spark's console progress bar would show these jobs for the whole search: a session for a terminal is best made
    with `spark.ui.showConsoleProgress=false`, as `local_spark_session` does.

    Args:
        spark_context: a SparkContext; its session is used.
        num_workers: number of workers; by default as many as Spark has task slots.
        spark: a SparkSession, instead of `spark_context`. With neither, the active session is used.
        threads_per_worker: threads for one operation of TensorFlow; by default `spark.task.cpus` on a cluster, and
            the cores divided by the workers on one machine.
        start_timeout: seconds within which the first worker must have registered.
        gpus_per_worker: GPUs of each worker, out of those that Spark assigns to its task
            (`spark.task.resource.gpu.amount`).
        max_restarts: replacements of one worker, in a row and without a finished unit between them, before it is
            given up.
        min_workers: workers that are enough to begin with, and below which a search waits for more.
            None: `num_workers` slots are needed to begin, and one worker is enough to go on.
            The other workers join whenever Spark has slots for them.
        worker_memory_limit: resident bytes above which a worker, after a unit, stores its states and makes way for a
            fresh process. TensorFlow alone takes about half a gigabyte. Needs checkpoints; not a death of the worker.
        max_units_per_worker: units after which it does so.
        tls: encrypt all calls, and ask both sides for a certificate. True makes one for each search, in memory; a
            `TlsConfig` names your own. Needs `pip install -e ".[tls]"`.
    """

    def __init__(
        self,
        spark_context: SparkContext | None = None,
        num_workers: int | None = None,
        *,
        spark: SparkSession | None = None,
        threads_per_worker: int | None = None,
        start_timeout: float = 600.0,
        gpus_per_worker: int = 0,
        max_restarts: int = 3,
        min_workers: int | None = None,
        worker_memory_limit: int | None = None,
        max_units_per_worker: int | None = None,
        tls: TlsSetting = False,
    ) -> None:
        self._spark = _session_of(spark_context, spark)
        self._context = _context_of(self._spark)
        self._cluster = inspect_cluster(self._spark, self._context)
        _use_this_python(self._spark, self._context, self._cluster)
        if num_workers is None:
            num_workers = _all_slots(self._cluster)
        super().__init__(
            num_workers,
            threads_per_worker=threads_per_worker,
            start_timeout=start_timeout,
            max_restarts=max_restarts,
            min_workers=min_workers,
            recycling=Recycling(worker_memory_limit, max_units_per_worker),
            tls=tls,
        )
        if isinstance(gpus_per_worker, bool) or gpus_per_worker < 0:
            raise ConfigError(
                "`gpus_per_worker` must be a whole number of at least 0. "
                f"Received: gpus_per_worker={gpus_per_worker!r}."
            )
        self._gpus_per_worker = gpus_per_worker
        self._tags: dict[str, str] = {}
        self._jobs: dict[str, int] = {}
        self._environment_is_known = False

    def __repr__(self) -> str:
        return f"SparkBackend(num_workers={self._num_workers}, master={self._cluster.master!r})"

    @property
    def spark(self) -> SparkSession:
        """The session that this backend uses."""
        return self._spark

    def check(self) -> None:
        self._cluster = inspect_cluster(self._spark, self._context)
        self._check_slots()
        self._check_speculation()
        self._check_gpus()
        if not self._cluster.is_local and not self._environment_is_known:
            check_environment(self._spark, self._cluster.slots or self._num_workers)
            self._environment_is_known = True

    def _check_slots(self) -> None:
        slots = self._cluster.slots
        needed, name = self._num_workers, "num_workers"
        if self._min_workers is not None:
            needed, name = self._min_workers, "min_workers"
        if slots is not None and slots < needed:
            raise BackendError(
                f"SparkBackend({name}={needed}) needs {needed} task slots, Spark has {slots}. "
                f"Received: {name}={needed}, master={self._cluster.master!r}, "
                f"spark.task.cpus={self._cluster.cores_per_task}. Use fewer workers, or give Spark more cores."
            )

    def _has_room(self) -> bool:
        # A worker in the last slot would starve the jobs that prepare its data.
        return self._cluster.slots is not None and self._cluster.slots > self._num_workers

    def _check_speculation(self) -> None:
        if setting(self._spark, "spark.speculation", "false") != "true":
            return
        if setting(self._spark, "spark.speculation.task.duration.threshold", ""):
            raise BackendError(
                "Spark would start every worker twice. Received: spark.speculation=true with "
                "spark.speculation.task.duration.threshold set. Turn speculation off for this session."
            )
        _LOGGER.warning("spark.speculation is on; long-lived workers gain nothing from it. Better turn it off.")

    def _check_gpus(self) -> None:
        if not self._gpus_per_worker:
            return
        amount = setting(self._spark, "spark.task.resource.gpu.amount", "0")
        if self._cluster.is_local or float(amount) < self._gpus_per_worker:
            raise BackendError(
                f"Spark does not assign {self._gpus_per_worker} GPUs to a task. Received: "
                f"gpus_per_worker={self._gpus_per_worker}, spark.task.resource.gpu.amount={amount}, "
                f"master={self._cluster.master!r}. Set that amount on a cluster; a local master cannot assign GPUs, "
                "use LocalBackend there."
            )

    def _threads(self) -> int:
        if self._threads_per_worker is not None:
            return self._threads_per_worker
        if not self._cluster.is_one_machine:
            return self._cluster.cores_per_task
        from cerebro_nas.backend.local._local import available_cores

        return max(1, available_cores() // self._num_workers)

    def _addresses(self) -> tuple[str, str]:
        if self._cluster.is_local:
            return "127.0.0.1", "127.0.0.1"
        if self._context is None:
            # With Connect this process is not Spark's driver; executors are taken to sit where the server does.
            connect: Any = self._spark
            host = own_address(f"grpc://{connect.client.host}:1")
            return host, host
        self._warn_of_plain_text()
        host = setting(self._spark, "spark.driver.host", "127.0.0.1")
        return listening_address(host, setting(self._spark, "spark.driver.bindAddress", host)), host

    def _warn_of_plain_text(self) -> None:
        keys = ("spark.authenticate", "spark.network.crypto.enabled")
        missing = [key for key in keys if setting(self._spark, key, "false") != "true"]
        if missing and not self._cluster.is_one_machine:
            _LOGGER.warning("The search's secret travels to the executors in plain text: %s is off.", missing[0])

    # --- jobs --------------------------------------------------------------------------------------------------------

    def _keeper(self, session: Session, worker: str) -> threading.Thread:
        from pyspark import InheritableThread

        self._tags[worker] = f"cerebro-nas-{worker}-{uuid.uuid4().hex}"
        self._jobs[worker] = 0
        thread: threading.Thread = InheritableThread(
            self._keep, args=(session, worker), session=self._spark, name=f"cerebro-keeper-{worker}", daemon=True
        )
        return thread

    def _keep(self, session: Session, worker: str) -> None:
        # The session's own tags do not reach the jobs of classic Spark; its context's do.
        add_tag = self._spark.addTag if self._context is None else self._context.addJobTag
        add_tag(self._tags[worker])
        while not session.stopping.is_set():
            reason = self._run_job(session, worker, self._jobs[worker])
            if reason is None or not session.table.died(worker, None, reason):
                return
            self._jobs[worker] += 1

    def _run_job(self, session: Session, worker: str, job: int) -> str | None:
        """Run one job to its end; say why it failed, None if the supervisor ended it in order."""
        config = encode(self._worker_config(session, worker, 0))
        supervise: Any = task_function(config, job, self._threads(), self._gpus_per_worker)
        try:
            with unlogged():
                self._spark.range(0, 1, 1, 1).mapInArrow(supervise, "value string").collect()
        except Exception as error:  # noqa: BLE001
            # Py4J and gRPC have their own classes for a job that failed; any of them means the same here.
            return f"its Spark job failed: {_cause(error)[:_REASON_LENGTH]}"
        return None

    def _interrupt(self, worker: str, *, force: bool) -> None:
        # Spark takes seconds to end the task; what its supervisor starts until then is not to join any more.
        if self._session is not None:
            self._session.table.refuse_below(worker, first_attempt(self._jobs[worker] + 1))
        cancel = self._spark.interruptTag if self._context is None else self._context.cancelJobsWithTag
        try:
            cancel(self._tags[worker])
        except Exception:
            # A session that is gone has no jobs left to cancel.
            _LOGGER.debug("Could not cancel the job of %s.", worker, exc_info=True)


def _cause(error: Exception) -> str:
    """The line that tells why: Spark's first one says which call failed, the last error of a traceback what of."""
    lines = [line.lstrip(": ") for line in str(error).strip().splitlines() if not line.startswith(("\t", "  "))]
    telling = [line for line in lines if _ERROR_LINE.match(line)]
    return (telling or lines or [type(error).__name__])[-1]


def _use_this_python(spark: SparkSession, context: SparkContext | None, cluster: Cluster) -> None:
    """Have Spark on this machine start its Python workers with this interpreter, unless the user named one.

    It would take the `python3` of the PATH, and a script that was started by the interpreter of a virtual environment
    which is not activated would find none of its packages there.
    """
    named = "PYSPARK_PYTHON" in os.environ or bool(setting(spark, "spark.pyspark.python", ""))
    if context is not None and cluster.is_one_machine and not named:
        context.pythonExec = sys.executable


def _session_of(context: SparkContext | None, spark: SparkSession | None) -> SparkSession:
    if context is not None and spark is not None:
        raise ConfigError("Give `spark_context` or `spark`, not both.")
    from pyspark.sql import SparkSession

    if spark is not None:
        return spark
    if context is not None:
        if not hasattr(context, "_jsc"):
            raise ConfigError(f"`spark_context` must be a SparkContext. Received: {type(context).__name__}.")
        return SparkSession.getActiveSession() or SparkSession(context)
    active = SparkSession.getActiveSession()
    if active is None:
        raise ConfigError("No Spark session is active. Give `spark_context` or `spark`.")
    return active


def _context_of(spark: SparkSession) -> Any:
    # A Connect session has no JVM object, and raises where it is asked for its context.
    return spark.sparkContext if hasattr(spark, "_jsparkSession") else None


def _all_slots(cluster: Cluster) -> int:
    if not cluster.slots:
        raise BackendError(
            f"The number of task slots cannot be known beforehand. Received: num_workers=None, "
            f"master={cluster.master!r}. Say how many workers there are to be: num_workers=..."
        )
    return cluster.slots
