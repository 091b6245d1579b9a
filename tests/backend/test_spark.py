"""Workers as Spark tasks: slots, starting and stopping, and the deaths that Spark itself does not mend (7, 8, 23)."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pytest

from cerebro_nas.backend import Backend
from cerebro_nas.backend import BackendEvent
from cerebro_nas.backend import RunCommand
from cerebro_nas.backend import SparkBackend
from cerebro_nas.backend import local_spark_session
from cerebro_nas.backend.spark._slots import slots_of_master
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import ConfigError
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.testing import BackendContract
from cerebro_nas.testing import Leaks
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import SearchSpec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Py4J leaves the socket of a thread that ended to the garbage collector, which says so.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

HERE = Path(__file__).parent
SEARCH = SearchSpec("data", "", (), (), (), (), seed=0, batch_size=1, checkpoint=False)


class FakeEngineBackend(SparkBackend):
    engine = "fake_engine:Engine"

    def _paths(self) -> tuple[str, ...]:
        return (*super()._paths(), str(HERE))


@pytest.mark.parametrize(
    ("master", "cores_per_task", "slots"),
    [
        ("local", 1, 1),
        ("local[3]", 1, 3),
        ("local[3]", 2, 1),
        ("local[*]", 1, 8),
        ("local[4, 2]", 1, 4),
        ("local[*,4]", 1, 8),
        ("local-cluster[2,3,1024]", 2, 2),
        ("spark://host:7077", 1, None),
        ("yarn", 1, None),
        ("localhost", 1, None),
    ],
)
def test_slots_that_a_master_gives_away(master: str, cores_per_task: int, slots: int | None) -> None:
    assert slots_of_master(master, cores_per_task, cores_here=8) == slots


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    session = local_spark_session(2)
    yield session
    session.stop()


def _events(backend: Backend, count: int) -> list[BackendEvent]:
    events: list[BackendEvent] = []
    deadline = time.monotonic() + 60
    while len(events) < count and time.monotonic() < deadline:
        events += backend.events(1.0)
    return events


def _report(backend: Backend, worker: str, trial: str, state: StateRef) -> UnitDone:
    unit = Unit(trial, "train", 0, Shard("train", 0))
    backend.submit(worker, RunCommand(unit, state, CandidateSpec(trial, "model", {}, (), ())))
    (event,) = _events(backend, 1)
    assert isinstance(event, UnitDone), event
    return event


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


@pytest.mark.spark
def test_workers_are_launched_ahead_where_a_slot_is_left_for_the_data(spark: SparkSession) -> None:
    with FakeEngineBackend(spark_context=spark.sparkContext, num_workers=2) as backend:
        assert not backend.launch()  # a worker in the last slot would starve the preparation
    with FakeEngineBackend(spark_context=spark.sparkContext, num_workers=1) as backend:
        assert backend.launch()
        assert spark.range(1000).repartition(3).count() == 1000  # beside the worker's own job
        backend.start(SEARCH)
        assert _events(backend, 1) == [WorkerJoined("w0")]
        assert _report(backend, "w0", "t", StateRef(0)).worker == "w0"


@pytest.mark.spark
@pytest.mark.case(8)
def test_too_few_slots_are_an_error_at_once(spark: SparkSession) -> None:
    begun = time.monotonic()
    backend = SparkBackend(spark_context=spark.sparkContext, num_workers=4)
    with pytest.raises(BackendError, match=r"needs 4 task slots, Spark has 2. Received: num_workers=4, master="):
        backend.start(SEARCH)
    backend.stop()
    assert time.monotonic() - begun < 5
    with pytest.raises(BackendError, match=r"SparkBackend\(min_workers=3\) needs 3 task slots, Spark has 2"):
        SparkBackend(spark_context=spark.sparkContext, num_workers=4, min_workers=3).check()
    SparkBackend(spark_context=spark.sparkContext, num_workers=4, min_workers=2).check()


@pytest.mark.spark
def test_arguments(spark: SparkSession) -> None:
    assert SparkBackend(spark=spark).num_workers == 2
    with pytest.raises(ConfigError, match="not both"):
        SparkBackend(spark.sparkContext, spark=spark)
    wrong: Any = "local"
    with pytest.raises(ConfigError, match="SparkContext"):
        SparkBackend(wrong)
    with pytest.raises(BackendError, match="gpus_per_worker=1"):
        SparkBackend(spark=spark, num_workers=1, gpus_per_worker=1).check()


@pytest.mark.spark
@pytest.mark.case(23)
def test_a_search_has_its_slots_and_gives_them_back(spark: SparkSession, tmp_path: Path) -> None:
    backend = FakeEngineBackend(spark.sparkContext, num_workers=2)
    backend.start(SEARCH)
    assert set(_events(backend, 2)) == {WorkerJoined("w0"), WorkerJoined("w1")}
    first = _report(backend, "w0", "t", StateRef(0))
    second = _report(backend, "w1", "t", StateRef(1, "w0"))
    assert second.report.rows == first.report.rows + 1
    pids = [int(done.report.metrics["pid"]) for done in (first, second)]
    session = backend._session
    assert session is not None
    for pid in pids:
        for file in ("cmdline", "environ"):
            assert session.secret.reveal() not in Path(f"/proc/{pid}/{file}").read_text(errors="replace")
    backend.stop()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert spark.range(10).count() == 10


@pytest.mark.spark
@pytest.mark.case(1, 7)
def test_workers_and_supervisors_that_die_are_replaced(spark: SparkSession) -> None:
    with FakeEngineBackend(spark=spark, num_workers=2) as backend:
        backend.start(SEARCH)
        _events(backend, 2)
        pid = int(_report(backend, "w0", "t", StateRef(0)).report.metrics["pid"])
        other = int(_report(backend, "w1", "t", StateRef(0)).report.metrics["pid"])
        for attempt, who in enumerate(("worker", "supervisor"), start=1):
            os.kill(pid if who == "worker" else _parent(pid), signal.SIGKILL)
            lost, joined = _events(backend, 2)
            assert isinstance(lost, WorkerLost)
            assert joined == WorkerJoined("w0", attempt)
            pid = int(_report(backend, "w0", "t", StateRef(0)).report.metrics["pid"])
        assert int(_report(backend, "w1", "t", StateRef(0)).report.metrics["pid"]) == other
    assert spark.range(10).count() == 10


@pytest.mark.spark
@pytest.mark.case(3, 19)
@pytest.mark.parametrize("how", ["hang", "stop"])
def test_a_worker_that_gets_nowhere_is_replaced_on_request(spark: SparkSession, how: str) -> None:
    with FakeEngineBackend(spark=spark, num_workers=1, max_restarts=0) as backend:
        backend.start(SEARCH)
        _events(backend, 1)
        pid = int(_report(backend, "w0", "t", StateRef(0)).report.metrics["pid"])
        if how == "stop":
            os.kill(pid, signal.SIGSTOP)
        else:
            unit = Unit("u", "train", 0, Shard("train", 0))
            backend.submit("w0", RunCommand(unit, StateRef(0), CandidateSpec("u", "model", {"do": "hang"}, (), ())))
        begun = time.monotonic()
        backend.restart("w0", "too slow")
        assert _events(backend, 2) == [WorkerLost("w0", "too slow"), WorkerJoined("w0", 1)]
        assert time.monotonic() - begun < 20
        # Spark takes seconds to end a task that it has cancelled, and with it the old process.
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() - begun < 30
            time.sleep(0.1)
        _report(backend, "w0", "t", StateRef(0))
    assert spark.range(0, 10, 1, 2).count() == 10


@pytest.mark.spark
def test_stopping_right_after_starting_leaves_the_slots_free(spark: SparkSession) -> None:
    backend = FakeEngineBackend(spark=spark, num_workers=2)
    backend.start(SEARCH)
    backend.stop()
    assert spark.range(0, 10, 1, 2).count() == 10


@pytest.mark.spark
def test_one_slot_is_enough_for_one_worker(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    spark.stop()
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    from pyspark.sql import SparkSession

    builder: SparkSession.Builder = SparkSession.builder
    builder = builder.master("local").config("spark.ui.enabled", "false")
    single = builder.getOrCreate()
    try:
        assert single.range(10).count() == 10
        with FakeEngineBackend(single.sparkContext, num_workers=1) as backend:
            backend.start(SEARCH)
            assert _events(backend, 1) == [WorkerJoined("w0")]
            _report(backend, "w0", "t", StateRef(0))
        assert single.range(10).count() == 10
        with pytest.raises(BackendError, match="Spark has 1"):
            SparkBackend(single.sparkContext, num_workers=2).check()
    finally:
        single.stop()


@pytest.mark.spark
@pytest.mark.slow
class TestSparkContract(BackendContract):
    def make_backend(self, num_workers: int) -> SparkBackend:
        return SparkBackend(spark=local_spark_session(2), num_workers=num_workers, threads_per_worker=1)

    def make_leaks(self) -> Leaks:
        # Spark keeps its JVM, its Python daemon and that one's idle processes for the next job.
        return Leaks(ignore_process=lambda command: "pyspark.daemon" in command or "java" in command[0])
