"""A small search as a program of its own, for tests that kill, stop and interrupt it. No Spark, real workers.

`program.py '{"directory": ..., ...}'` runs one search. `program.py --serve` forks one for every line that it reads, so
that what is slow to import is imported once.
"""

from __future__ import annotations

import _thread
import contextlib
import dataclasses
import functools
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import keras_tuner

from cerebro_nas.backend import LocalBackend
from cerebro_nas.errors import BuildError
from cerebro_nas.search import Budgets
from cerebro_nas.search import SearchClaim
from cerebro_nas.search import SearchPlan
from cerebro_nas.search import StopSignals
from cerebro_nas.search import Watch
from cerebro_nas.search import _session
from cerebro_nas.search import identity_of
from cerebro_nas.search import run_search
from cerebro_nas.search import search_spec
from cerebro_nas.storage import LocalStore
from cerebro_nas.testing import FaultPlan
from cerebro_nas.testing import crash_after
from cerebro_nas.testing import tiny_search
from cerebro_nas.tracking import configure_logging
from cerebro_nas.tuners import make_tuner
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import ShardSpec

_HERE = Path(__file__).resolve().parent
_SHARDS = (
    ShardSpec("train", 0, "a", 8, 8),
    ShardSpec("train", 1, "b", 12, 8),
    ShardSpec("train", 2, "c", 10, 8),
    ShardSpec("valid", 0, "d", 8, 8),
)


@dataclass(frozen=True)
class Job:
    """What to run.

    Attributes:
        directory: of the search; `data` beside it is for all searches there.
        engine: "chain" or "real".
        unit_seconds: length of a unit of the chain engine; `build_seconds` that of building a candidate.
        poison: the trial of this number kills every worker that trains it, at every time.
        faults: a fault plan as text, with the directory where its strikes are counted.
        crash_after: records of the journal after which this process is killed.
        grace: what a signal leaves to running units.
        interrupt_after: records of the journal after which a notebook would interrupt the search, and begin it again.
        log: where output goes; "" leaves it.
    """

    directory: str
    engine: str = "chain"
    trials: int = 3
    epochs: int = 2
    workers: int = 2
    unit_seconds: float = 0.02
    build_seconds: float = 0.0
    poison: int | None = None
    faults: str = ""
    crash_after: int | None = None
    grace: float = 30.0
    interrupt_after: int | None = None
    no_workers_timeout: float = 60.0
    verbose: int = 0
    log: str = ""
    environment: dict[str, str] = field(default_factory=dict)


class ChaosBackend(LocalBackend):
    """Real processes, with the engine of a job."""

    stop_seconds = 5.0

    def __init__(self, job: Job) -> None:
        super().__init__(job.workers, threads_per_worker=1)
        if job.engine == "chain":
            self.engine = "chain_engine:Engine"  # type: ignore[misc]
        if job.faults:
            plan = FaultPlan.from_json(job.faults)
            plan.on(self, json.loads(job.faults)["directory"])

    def _paths(self) -> tuple[str, ...]:
        return (*super()._paths(), str(_HERE))


class ChaosSpace:
    """Candidates that differ in their learning rate; of the chain engine, every fifth cannot be built."""

    metric_names = ("loss", "accuracy")

    def __init__(self, job: Job) -> None:
        self._job = job
        if job.engine == "real":
            search, self._candidate = tiny_search(Path(job.directory).parent)
        else:
            search = SearchSpec("data", "states", _SHARDS, (), (), (), seed=0, batch_size=1)
            self._candidate = CandidateSpec("", "", {}, (), ())
        self.data_url, self.shards = search.data_url, search.shards
        self.features, self.labels, self.targets = search.features, search.labels, search.targets
        self.classifies = (True,) * len(search.labels)

    def build(self, hp: keras_tuner.HyperParameters, *, trial: str, seed: int) -> CandidateSpec:
        time.sleep(self._job.build_seconds)
        rate = hp.get("rate")
        optimizer: dict[str, Any] = {
            "seconds": self._job.unit_seconds,
            "kills": self._job.poison is not None and int(trial) == self._job.poison,
        }
        if self._job.engine == "real":
            optimizer = json.loads(json.dumps(self._candidate.optimizer))
            optimizer["config"]["learning_rate"] = rate
        elif int(trial) % 5 == 4:
            raise BuildError("every fifth", parameters=5)
        return dataclasses.replace(self._candidate, trial=trial, seed=seed, optimizer=optimizer, parameters=10)


def search(job: Job) -> None:
    """Begin the search, or go on with it."""
    if job.log:
        handle = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
    os.environ.update(job.environment)
    tempfile.tempdir = None
    configure_logging(2 if job.log else 1)
    times = mock.patch.multiple(
        _session,
        StopSignals=functools.partial(StopSignals, job.grace),
        Watch=functools.partial(Watch, no_workers_timeout=job.no_workers_timeout),
    )
    dying = contextlib.nullcontext() if job.crash_after is None else crash_after(job.crash_after, real=True)
    with times, dying:
        if job.interrupt_after is not None:
            threading.Thread(target=_interrupt, args=(job.directory, job.interrupt_after), daemon=True).start()
            with contextlib.suppress(KeyboardInterrupt):
                _run(job)
            _say("interrupted")
        _run(job)


def _interrupt(directory: str, records: int) -> None:
    journal = Path(directory) / "journal.jsonl"
    while not journal.exists() or journal.read_bytes().count(b"\n") <= records:
        time.sleep(0.01)
    _thread.interrupt_main()


def _run(job: Job) -> None:
    store = LocalStore(Path(job.directory).parent)
    with SearchClaim(store, job.directory, overwrite=False) as claim, ChaosBackend(job) as backend:
        identity = "c0ffee" if claim.session is None else identity_of(claim.session)
        space = ChaosSpace(job)
        plan = SearchPlan(
            project="chaos",
            tuner_name="random",
            directory=job.directory,
            identity=identity,
            description={},
            journal=claim.begin(),
            check_claim=claim.check,
            prepared=SimpleNamespace(  # type: ignore[arg-type]
                url=space.data_url, shards=space.shards, statistics={}, weights=None, fingerprint=""
            ),
            space=space,  # type: ignore[arg-type]
            backend=backend,
            batch_size=16,
            epochs=job.epochs,
            parallelism=None,
            seed=3,
            visit_order="fixed",
            unit_timeout=None,
            rules=(),
            logdirs=(),
            verbose=job.verbose,
        )
        if not claim.has_ended({"max_trials": job.trials, "epochs": job.epochs, "budgets": Budgets().to_dict()}):
            backend.start(search_spec(plan))
        values = keras_tuner.HyperParameters()
        values.Float("rate", 1e-4, 1e-1, sampling="log")
        tuner = make_tuner(
            "random",
            objective="val_accuracy",
            max_trials=job.trials,
            hyperparameters=values,
            seed=3,
            directory=f"{job.directory}/tuner",
        )
        try:
            _say(run_search(plan, tuner).stopped_because)
        finally:
            tuner.close()


def serve() -> Job:
    """Fork for every line; return in the child, with what it shall do."""
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = {"status": _wait(request["wait"], request["seconds"])}
        else:
            pid = os.fork()
            if not pid:
                os.setsid()
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                return Job(**request)
            answer = {"pid": pid}
        _say(json.dumps(answer))
    sys.exit(0)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _wait(pid: int, seconds: float) -> int | None:
    """How a child ended, negative for a signal; None: it had to be killed."""
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(0.01)


if __name__ == "__main__":
    logging.captureWarnings(True)
    search(serve() if sys.argv[1] == "--serve" else Job(**json.loads(sys.argv[1])))
