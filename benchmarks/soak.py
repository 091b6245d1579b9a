"""A long search on Spark whose workers are killed in turn: all trials end, and nothing grows that should not."""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks._errors import BenchmarkError
from benchmarks._soak_figures import Growth
from benchmarks._soak_figures import growths
from benchmarks._soak_samples import Killer
from benchmarks._soak_samples import Places
from benchmarks._soak_samples import Sample
from benchmarks._soak_samples import Watcher
from benchmarks._soak_samples import count_files
from benchmarks._soak_samples import workers
from benchmarks._table import Table
from benchmarks._table import add_common_arguments
from benchmarks._table import save
from benchmarks._table import show

WORKERS = 2
EPOCHS = 2
_ROWS, _WIDTH, _CLASSES = 600, 16, 4
_PERIOD_SECONDS = 5.0
_PROJECT = "soak"
_ENDED = ("COMPLETED", "STOPPED")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m benchmarks soak`."""
    add_common_arguments(parser)
    parser.add_argument("--trials", type=int, default=300, help="trials (default: %(default)s)")
    parser.add_argument(
        "--kill-every", type=float, default=20.0, help="seconds between two deaths, 0: none (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds-limit", type=int, default=1500, help="seconds after which it is given up (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Search, watch and show the table; 1 if a trial did not end well or something grew."""
    trials = 8 if arguments.quick else arguments.trials
    period = 1.0 if arguments.quick else _PERIOD_SECONDS
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        places = _places(Path(folder))
        # Before anything asks where temporary files go: here, and nowhere else, so that each is counted.
        os.environ["TMPDIR"] = str(places.temporary)
        tempfile.tempdir = None
        _use_one_thread()
        _give_up_after(arguments.seconds_limit)
        began = time.monotonic()
        statuses, samples, killed = _search(trials, places, period, arguments.kill_every)
        seconds = time.monotonic() - began
        signal.alarm(0)
        left = _leftovers(places)
    found = growths(samples)
    tables = [outcome_table(trials, statuses, seconds, killed, left), growth_table(found, len(samples))]
    show(tables, arguments.out, "soak")
    save([samples_table(samples)], arguments.out, "soak-samples")
    return 0 if is_fine(trials, statuses, found, left) else 1


def is_fine(trials: int, statuses: Counter[str], found: Sequence[Growth], left: dict[str, int]) -> bool:
    """Whether all trials ended well, nothing grew, and nothing was left."""
    ended = sum(statuses[status] for status in _ENDED)
    return ended == trials and all(growth.is_flat for growth in found) and not any(left.values())


# --- the search -------------------------------------------------------------------------------------------------------


def _places(folder: Path) -> Places:
    (folder / "tmp").mkdir()
    return Places(temporary=folder / "tmp", search=folder / "store" / "runs" / _PROJECT)


def _use_one_thread() -> None:
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = "1"


def _give_up_after(seconds: int) -> None:
    def give_up(*_: Any) -> None:
        raise BenchmarkError(f"The search did not end within {seconds} s.")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)


def _search(
    trials: int, places: Places, period: float, kill_every: float
) -> tuple[Counter[str], list[Sample], list[int]]:
    """Run the search with somebody who watches and somebody who kills."""
    from cerebro_nas.backend import SparkBackend
    from cerebro_nas.backend import local_spark_session
    from cerebro_nas.tracking import load_tensorflow

    options = {"spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={places.temporary}"}
    spark = local_spark_session(WORKERS, memory="512m", config=options, meanwhile=load_tensorflow, class_cache=False)
    backend = SparkBackend(spark=spark, num_workers=WORKERS, threads_per_worker=1)
    killer = Killer(kill_every)
    with Watcher(places, period) as watcher:
        if kill_every:
            with killer:
                result = _fit(trials, backend, spark, places)
        else:
            result = _fit(trials, backend, spark, places)
    statuses = Counter(str(status) for status in result.leaderboard()["status"])
    spark.stop()
    return statuses, watcher.samples, killer.killed


def _fit(trials: int, backend: Any, spark: Any, places: Places) -> Any:
    from cerebro_nas import HyperHyperModel

    model = HyperHyperModel(
        *_graph(), project_name=_PROJECT, max_trials=trials, tuner="random", seed=7, directory=places.search.parent
    )
    model.resource_bind(
        backend=backend,
        store=str(places.search.parents[1]),
        label_columns="label",
        feature_columns="features",
        evaluation_metric="accuracy",
        verbose=0,
    )
    return model.fit(_rows(spark), batch_size=32, epochs=EPOCHS)


def _graph() -> tuple[Any, Any]:
    """One or two dense layers, of any width, so that 300 candidates differ."""
    import autokeras as ak
    import keras

    class Layers(ak.Block):  # type: ignore[misc,unused-ignore]
        def build(self, hp: Any, inputs: Any = None) -> Any:
            node = inputs[0] if isinstance(inputs, list) else inputs
            units, activation = hp.Int("units", 4, 128), hp.Choice("activation", ["relu", "tanh"])
            for _ in range(hp.Int("layers", 1, 2)):
                node = keras.layers.Dense(units, activation=activation)(node)
            return node

    inputs = ak.Input()
    return inputs, ak.ClassificationHead(dropout=0.0)(Layers(name="layers")(inputs))


def _rows(spark: Any) -> Any:
    import numpy as np

    draw = np.random.default_rng(7)
    centres = draw.normal(size=(_CLASSES, _WIDTH))
    labels = draw.integers(0, _CLASSES, _ROWS)
    features = centres[labels] + draw.normal(size=(_ROWS, _WIDTH))
    rows = [([float(x) for x in row], int(label)) for row, label in zip(features, labels, strict=True)]
    return spark.createDataFrame(rows, "features array<double>, label long")


def _leftovers(places: Places) -> dict[str, int]:
    """What is there still though the search has ended."""
    family = psutil.Process().children(recursive=True)
    workers_left = [process for process in workers(family) if process.status() != psutil.STATUS_ZOMBIE]
    ours = list(places.temporary.rglob("cerebro-nas-*"))
    under_way = list(places.search.rglob(".tmp-*"))
    states = Counter(path.parent for path in places.search.glob("states-*/*/state-*.safetensors"))
    return {
        "workers": len(workers_left),
        "temporary directories": len(ours) + sum(count_files(path)[0] for path in ours),
        "files half written": len(under_way),
        "states beyond the best": sum(states.values()) - len(states),
    }


# --- tables -----------------------------------------------------------------------------------------------------------


def outcome_table(
    trials: int, statuses: Counter[str], seconds: float, killed: Sequence[int], left: dict[str, int]
) -> Table:
    """What became of the trials."""
    rows: list[tuple[object, ...]] = [("trials asked for", trials)]
    rows += [(f"trials {status}", number) for status, number in sorted(statuses.items())]
    rows += [("seconds", round(seconds)), ("workers killed", len(killed))]
    rows += [(f"{name} left", number) for name, number in left.items()]
    return Table("Soak: outcome", ("what", "number"), tuple(rows))


def growth_table(found: Sequence[Growth], samples: int) -> Table:
    """What grew."""
    rows = tuple(
        (growth.bound.name, growth.first, growth.last, growth.slope, growth.bound.slope, growth.is_flat)
        for growth in found
    )
    return Table(
        "Soak: what grows",
        ("what", "first third", "last third", "per 100 trials", "bound", "within"),
        rows,
        (
            f"medians of the thirds of {samples} samples, the first tenth of the trials apart; slope by least squares",
            *(f"{growth.bound.name}: {growth.bound.why}" for growth in found if growth.bound.why),
        ),
    )


def samples_table(samples: Sequence[Sample]) -> Table:
    """All samples, for whoever wants to draw them."""
    names = list(dict.fromkeys(name for sample in samples for name in sample.values))
    rows = tuple(
        (round(sample.seconds, 1), sample.trials, *(sample.values.get(name) for name in names)) for sample in samples
    )
    return Table("Soak: samples", ("seconds", "trials", *names), rows)
