"""Executors of their own: one is killed, GPUs are assigned, and a worker without a slot joins late."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from cerebro_nas.backend import BackendEvent
from cerebro_nas.backend import RunCommand
from cerebro_nas.backend import SparkBackend
from cerebro_nas.backend import local_spark_session
from cerebro_nas.backend.spark._java import ensure_java
from cerebro_nas.errors import BackendError
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import SearchSpec

# Py4J leaves the socket of a thread that ended to the garbage collector, which says so.
pytestmark = [
    pytest.mark.spark,
    pytest.mark.chaos,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

HERE = Path(__file__).parent
SEARCH = SearchSpec("data", "", (), (), (), (), seed=0, batch_size=1, checkpoint=False)


class FakeEngineBackend(SparkBackend):
    engine = "fake_engine:Engine"

    def _paths(self) -> tuple[str, ...]:
        return (*super()._paths(), str(HERE))


@contextmanager
def _cluster(monkeypatch: pytest.MonkeyPatch, executors: int, cores: int = 1, **config: str) -> Iterator[Any]:
    """A Spark whose executors are processes of their own."""
    from pyspark.sql import SparkSession

    for name, value in {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_HOSTNAME": "localhost",
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_HOME": str(_spark_home()),
        # Executors are started with it, and a machine need have no other Java than that of the wheel.
        "JAVA_HOME": str(ensure_java()),
    }.items():
        monkeypatch.setenv(name, value)
    builder: Any = SparkSession.builder
    builder = builder.master(f"local-cluster[{executors},{cores},1024]").appName("cluster")
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.executor.memory": "512m",
        "spark.ui.showConsoleProgress": "false",
    }
    for name, value in {**settings, **config}.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    try:
        yield session
    finally:
        session.stop()


def _spark_home() -> Path:
    import pyspark

    return Path(pyspark.__path__[0])


def _executors() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any("CoarseGrainedExecutorBackend" in word for word in process.cmdline()[:40]):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def _until(backend: SparkBackend, count: int, kind: type[Any], seconds: float = 90.0) -> list[BackendEvent]:
    events: list[BackendEvent] = []
    deadline = time.monotonic() + seconds
    while sum(isinstance(event, kind) for event in events) < count:
        assert time.monotonic() < deadline, events
        events += backend.events(0.5)
    return events


def _report(backend: SparkBackend, worker: str, trial: str, **plan: Any) -> UnitDone:
    unit = Unit(trial, "train", 0, Shard("train", 0))
    backend.submit(worker, RunCommand(unit, StateRef(0), CandidateSpec(trial, "model", plan, (), ())))
    (done,) = [event for event in _until(backend, 1, UnitDone) if isinstance(event, UnitDone)]
    return done


@pytest.mark.case(1, 7)
def test_when_an_executor_is_killed_its_worker_comes_back_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with _cluster(monkeypatch, 2) as session, FakeEngineBackend(spark=session, num_workers=2) as backend:
        backend.start(SEARCH)
        _until(backend, 2, WorkerJoined)
        pids = {name: int(_report(backend, name, "t").report.metrics["pid"]) for name in ("w0", "w1")}
        victim = next(e for e in _executors() if pids["w0"] in {c.pid for c in e.children(recursive=True)})
        victim.kill()
        events = _until(backend, 1, WorkerJoined)
        lost, joined = events
        assert isinstance(lost, WorkerLost)
        assert (lost.worker, joined) == ("w0", WorkerJoined("w0", 1))
        again = {name: int(_report(backend, name, "u").report.metrics["pid"]) for name in ("w0", "w1")}
        assert again["w1"] == pids["w1"]
        assert again["w0"] != pids["w0"]
        assert not Path(f"/proc/{pids['w0']}").exists()


@pytest.mark.case(1, 6)
def test_when_all_executors_are_killed_the_workers_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with _cluster(monkeypatch, 2) as session, FakeEngineBackend(spark=session, num_workers=2) as backend:
        backend.start(SEARCH)
        _until(backend, 2, WorkerJoined)
        for executor in _executors():
            executor.kill()
        events = _until(backend, 2, WorkerJoined)
        assert {event.worker for event in events if isinstance(event, WorkerLost)} == {"w0", "w1"}
        assert _report(backend, "w0", "t").worker == "w0"


def test_each_worker_sees_the_gpu_that_spark_gave_its_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "gpus.sh"
    script.write_text("#!/bin/sh\necho '" + json.dumps({"name": "gpu", "addresses": ["3", "5"]}) + "'\n")
    script.chmod(0o755)
    config = {
        "spark.worker.resource.gpu.amount": "2",
        "spark.worker.resource.gpu.discoveryScript": str(script),
        "spark.executor.resource.gpu.amount": "2",
        "spark.task.resource.gpu.amount": "1",
    }
    with (
        _cluster(monkeypatch, 1, 2, **config) as session,
        FakeEngineBackend(spark=session, num_workers=2, gpus_per_worker=1) as backend,
    ):
        backend.start(SEARCH)
        _until(backend, 2, WorkerJoined)
        pids = [int(_report(backend, name, "t").report.metrics["pid"]) for name in ("w0", "w1")]
        assert sorted(_environment(pid)["CUDA_VISIBLE_DEVICES"] for pid in pids) == ["3", "5"]


def _environment(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(line.decode().split("=", 1) for line in lines if b"=" in line)


@pytest.mark.case(5)
def test_a_worker_without_a_slot_joins_when_there_is_one() -> None:
    session = local_spark_session(2, class_cache=False)
    busy = threading.Thread(target=_occupy, args=(session, 12.0), daemon=True)
    busy.start()
    try:
        time.sleep(2.0)
        with FakeEngineBackend(spark=session, num_workers=2, min_workers=1) as backend:
            backend.start(SEARCH)
            (first,) = _until(backend, 1, WorkerJoined)
            assert isinstance(first, WorkerJoined)
            assert _report(backend, first.worker, "t").worker == first.worker
            assert [type(event) for event in _until(backend, 1, WorkerJoined)] == [WorkerJoined]
    finally:
        busy.join(30)
        session.stop()


def _occupy(session: Any, seconds: float) -> None:
    def wait(rows: Any) -> Iterator[Any]:
        time.sleep(seconds)
        yield from rows

    session.range(0, 1, 1, 1).rdd.mapPartitions(wait).count()


DRIVER = """
import os, sys, time
sys.path[:0] = [{root!r}, {here!r}]
from cerebro_nas.backend import SparkBackend, local_spark_session
from cerebro_nas.worker import SearchSpec

class Backend(SparkBackend):
    engine = "fake_engine:Engine"
    def _paths(self):
        return (*super()._paths(), {here!r})

backend = Backend(spark=local_spark_session(2, class_cache=False), num_workers=2)
backend.start(SearchSpec("d", "", (), (), (), (), 0, 1))
while backend._session.table.joined < 2:
    backend.events(1)
print("up", flush=True)
time.sleep(60)
"""


def _command(process: psutil.Process) -> list[str]:
    """Its command line; nothing if it has ended since it was found, as what a start of Java runs for a moment has."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@pytest.mark.case(10)
def test_nothing_outlives_a_driver_that_is_killed(tmp_path: Path) -> None:
    code = DRIVER.format(root=str(HERE.parents[1]), here=str(HERE))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    driver = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    )
    with driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "up\n"
        family = psutil.Process(driver.pid).children(recursive=True)
        programs = [process for process in family if "cerebro_nas.worker" in _command(process)]
        assert len(programs) == 2
        driver.kill()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert [command for command in map(_command, alive) if command] == []


@pytest.mark.case(34)
def test_an_executor_whose_python_lacks_what_is_needed_is_told_before_the_search(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A Python of the same version with nothing installed: what a node looks like that was forgotten.
    venv.create(tmp_path / "bare", with_pip=False)
    with _cluster(monkeypatch, 1) as spark:
        spark.sparkContext.pythonExec = str(tmp_path / "bare" / "bin" / "python")
        backend = SparkBackend(spark=spark, num_workers=1)
        began = time.monotonic()
        with pytest.raises(BackendError, match=r"with pyarrow and pandas.*Set PYSPARK_PYTHON"):
            backend.check()
    assert time.monotonic() - began < 60
