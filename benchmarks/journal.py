"""What the journal costs: to write a record, to flush it, to open a journal again, and to go through it.

The search that is gone through is simulated; the driver, the scheduler, the tuner and the books are the real ones.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import keras_tuner

from benchmarks._table import Table
from benchmarks._table import save
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.journal import Journal
from cerebro_nas.search import Books
from cerebro_nas.search import Ledger
from cerebro_nas.search import SearchDriver
from cerebro_nas.search import SearchParts
from cerebro_nas.search import replay
from cerebro_nas.storage import Janitor
from cerebro_nas.storage import StateFiles
from cerebro_nas.testing import shard_search
from cerebro_nas.tracking import SilentReporter
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import make_tuner
from cerebro_nas.worker import CandidateSpec

_WORKERS = 8
_EPOCHS = 10
_RECORD = {"type": "UnitDone", "worker": "w0", "report": {"metrics": {"loss": 0.5, "accuracy": 0.75}, "seconds": 1.5}}


class _Space:
    def build(self, hp: keras_tuner.HyperParameters, *, trial: str, seed: int) -> CandidateSpec:
        return CandidateSpec(trial, "", {}, (), (), seed=seed, parameters=int(hp.get("units")))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--appends", type=int, default=2000, help="records written, and flushed one by one")
    parser.add_argument("--trials", type=int, default=200, help="trials of the search that is gone through")
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure; a temporary one by default")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))


def run(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="journal-", dir=arguments.folder) as folder:
        written = _written(Path(folder) / "written.jsonl", arguments.appends)
        gone_through = _gone_through(Path(folder), arguments.trials)
    item = table(written, gone_through)
    print(item.markdown())
    save([item], arguments.results, "journal")
    return 0


def table(written: tuple[float, float], gone_through: dict[str, float]) -> Table:
    """Medians of the single steps, totals of the search."""
    append, commit = written
    rows = (
        ("append a record, us", f"{append * 1e6:.0f}"),
        ("flush it to disk, us", f"{commit * 1e6:.0f}"),
        ("units of the search that is gone through", f"{gone_through['units']:.0f}"),
        ("its records", f"{gone_through['records']:.0f}"),
        ("its journal, MB", f"{gone_through['bytes'] / 1e6:.1f}"),
        ("bytes a unit", f"{gone_through['bytes'] / gone_through['units']:.0f}"),
        ("open it, s", f"{gone_through['open']:.2f}"),
        ("go through it, s", f"{gone_through['replay']:.2f}"),
        ("go through it, us a unit", f"{gone_through['replay'] / gone_through['units'] * 1e6:.0f}"),
    )
    return Table("The journal", ("what", "value"), rows, ())


def _written(path: Path, appends: int) -> tuple[float, float]:
    appended, committed = [], []
    with Journal.open(path) as journal:
        for _ in range(appends):
            begin = time.perf_counter()
            journal.append("event", _RECORD, 1.0)
            middle = time.perf_counter()
            journal.commit()
            appended.append(middle - begin)
            committed.append(time.perf_counter() - middle)
    return statistics.median(appended), statistics.median(committed)


def _gone_through(folder: Path, trials: int) -> dict[str, float]:
    path = folder / "journal.jsonl"
    units = _search(folder, path, trials)
    begin = time.perf_counter()
    with Journal.open(path) as journal:
        middle = time.perf_counter()
        hopper, tuner, books = _fresh(folder / "again", trials)
        replay(Ledger(hopper, tuner, books), journal.records)
        end = time.perf_counter()
        found = {"records": len(journal.records), "bytes": path.stat().st_size}
    return {**found, "units": units, "open": middle - begin, "replay": end - middle}


def _search(folder: Path, path: Path, trials: int) -> int:
    hopper, tuner, books = _fresh(folder / "first", trials)
    (folder / "states").mkdir()
    states = StateFiles(str(folder / "states"))
    janitor = Janitor(states)
    with SimulatedBackend(_WORKERS) as backend, Journal.open(path) as journal:
        backend.start(shard_search([1000] * _WORKERS, [500]))
        parts: dict[str, Any] = {"space": _Space(), "tuner": tuner, "hopper": hopper, "backend": backend}
        parts |= {"journal": journal, "states": states, "janitor": janitor, "books": books}
        driver = SearchDriver(SearchParts(**parts, reporter=SilentReporter(), rules=(), boards=(), seed=0))
        driver.run()
        driver.wind_up(backend.stop())
    janitor.close(10.0)
    return len(hopper.log)


def _fresh(folder: Path, trials: int) -> tuple[Hopper, Tuner, Books]:
    shards = shard_search([1000] * _WORKERS, [500]).shards
    hopper = Hopper([ShardInfo(Shard(s.split, s.index), s.rows, s.nbytes) for s in shards], num_workers=_WORKERS)  # type: ignore[arg-type]
    space = keras_tuner.HyperParameters()
    space.Int("units", 1, 100_000)
    options: dict[str, Any] = {"objective": "val_accuracy", "max_trials": trials, "seed": 0}
    tuner = make_tuner("random", hyperparameters=space, directory=str(folder), **options)
    books = Books(
        project="p",
        tuner="random",
        objectives=[("val_accuracy", "max")],
        max_trials=trials,
        epochs=_EPOCHS,
        num_workers=_WORKERS,
    )
    return hopper, tuner, books
