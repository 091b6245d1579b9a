"""How many tasks a Spark session can run at once, and what in its settings would hurt long-lived ones."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

_LOCAL = re.compile(r"local(?:\[(?P<threads>\d+|\*)(?:,\s*\d+)?\])?")
_LOCAL_CLUSTER = re.compile(r"local-cluster\[\s*(?P<executors>\d+)\s*,\s*(?P<cores>\d+)\s*,\s*\d+\s*\]")


@dataclass(frozen=True)
class Cluster:
    """What a session runs on.

    Attributes:
        master: the session's master, `""` where the session does not tell.
        slots: tasks that can run at once, None where it cannot be known beforehand.
        cores_per_task: `spark.task.cpus`.
    """

    master: str
    slots: int | None
    cores_per_task: int

    @property
    def is_local(self) -> bool:
        """Whether tasks run inside the driver's own machine and process tree (`local[...]`)."""
        return _LOCAL.fullmatch(self.master) is not None

    @property
    def is_one_machine(self) -> bool:
        """Whether all tasks run on the driver's machine."""
        return self.is_local or _LOCAL_CLUSTER.fullmatch(self.master) is not None


def setting(spark: Any, name: str, default: str) -> str:
    """A setting of the session, classic or Connect."""
    value = spark.conf.get(name, default)
    return default if value is None else str(value)


def inspect_cluster(spark: Any, context: Any | None) -> Cluster:
    """Read master and slots from a session; `context` is its SparkContext, None on Spark Connect."""
    master = str(context.master) if context is not None else setting(spark, "spark.master", "")
    cores_per_task = int(setting(spark, "spark.task.cpus", "1"))
    return Cluster(master, _slots(spark, context, master, cores_per_task), cores_per_task)


def slots_of_master(master: str, cores_per_task: int, cores_here: int) -> int | None:
    """Slots that the master's name gives away: `local...` and `local-cluster...`; None for any other."""
    local = _LOCAL.fullmatch(master)
    if local is not None:
        threads = local["threads"] or "1"
        return (cores_here if threads == "*" else int(threads)) // cores_per_task
    cluster = _LOCAL_CLUSTER.fullmatch(master)
    if cluster is not None:
        return int(cluster["executors"]) * (int(cluster["cores"]) // cores_per_task)
    return None


def _slots(spark: Any, context: Any | None, master: str, cores_per_task: int) -> int | None:
    cores_here = os.cpu_count() or 1
    if context is not None:
        cores_here = int(context._jvm.java.lang.Runtime.getRuntime().availableProcessors())
    named = slots_of_master(master, cores_per_task, cores_here)
    if named is not None:
        return named
    if setting(spark, "spark.dynamicAllocation.enabled", "false") == "true":
        return _configured(spark, "spark.dynamicAllocation.maxExecutors", cores_per_task)
    configured = _configured(spark, "spark.executor.instances", cores_per_task)
    if configured is not None or context is None:
        return configured
    scala = context._jsc.sc()
    return int(scala.maxNumConcurrentTasks(scala.resourceProfileManager().defaultResourceProfile()))


def _configured(spark: Any, executors_key: str, cores_per_task: int) -> int | None:
    executors = setting(spark, executors_key, "")
    cores = setting(spark, "spark.executor.cores", "")
    if not executors.isdigit() or not cores.isdigit():
        return None
    return int(executors) * (int(cores) // cores_per_task)
