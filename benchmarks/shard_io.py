"""The way of the data: from a DataFrame to shards, from a shard to memory, and from memory into the graph."""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import psutil

from benchmarks import _io_data
from benchmarks import _w8_data
from benchmarks._hop_models import use_one_thread
from benchmarks._io_data import BATCH
from benchmarks._io_data import Source
from benchmarks._table import Table
from benchmarks._table import add_common_arguments
from benchmarks._table import show
from cerebro_nas.backend import local_spark_session
from cerebro_nas.data import PreparedData
from cerebro_nas.data import prepare_data
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import Unit
from cerebro_nas.storage import LocalStore

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BAR_SHARE = 0.02
"""What of a sub-epoch's time the reading of its shard may take once the shard has been read."""

_SHARDS = 2
_SEARCH_UNITS = 24
"""Visits of a shard in W8: 8 candidates, 3 epochs."""

_BUDGET = 1 << 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m benchmarks io`."""
    add_common_arguments(parser)
    parser.add_argument("--images", type=Path, default=_w8_data.FOLDER, help="folder of the four files")
    parser.add_argument("--rows", type=int, default=400_000, help="rows of the table (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each part (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Measure the way of the data and show the tables; 0 if the bar is met."""
    use_one_thread()
    repeats = 2 if arguments.quick else arguments.repeats
    with tempfile.TemporaryDirectory(prefix="io-") as name:
        folder = Path(name)
        sources = [_io_data.table(folder, 4000 if arguments.quick else arguments.rows)]
        if arguments.images.is_dir() and not arguments.quick:
            sources.insert(0, _io_data.images(folder, arguments.images, _w8_data.TRAIN_ROWS))
        made, prepared = measure_preparation(sources, folder, 1 if arguments.quick else 3)
        pairs = list(zip(sources, prepared, strict=True))
        decoded = measure_decoding(pairs, folder, repeats)
        fed = measure_feeding(pairs, folder, repeats)
        units = measure_units(pairs, folder, repeats)
    show([made, decoded, fed, units], arguments.out, "io")
    missed = [row for row in units.rows if float(str(row[4])) > 100 * BAR_SHARE]
    for row in missed:
        print(f"BAR MISSED: {row[0]}: {row[4]:.1f} % of a sub-epoch is spent on reading, of {100 * BAR_SHARE:g} %.")
    return 1 if missed else 0


def measure_preparation(sources: Sequence[Source], folder: Path, repeats: int) -> tuple[Table, list[PreparedData]]:
    """Prepare each data set several times, the first one apart: Spark compiles then."""
    rows, prepared = [], []
    spark = local_spark_session(2)
    with contextlib.closing(_Stopped(spark)):
        for source in sources:
            found, figures = _prepare(spark, source, folder, repeats + 1)
            prepared.append(found)
            count, size = sum(shard.rows for shard in found.shards), sum(shard.nbytes for shard in found.shards)
            first, seconds = figures[0][0], statistics.median(item[0] for item in figures[1:])
            cpu = statistics.median(item[1] for item in figures[1:])
            rows.append((source.name, count, size / 1e6, first, seconds, cpu, count / seconds, size / 1e6 / seconds))
    return Table(
        "DataFrame to shards (Spark, local[2])",
        ("data", "rows", "decoded MB", "first time s", "s", "CPU-s", "rows/s", "MB/s"),
        tuple(rows),
        (f"medians of {repeats} after the first; CPU-s of the whole process tree", "MB: as decoded, all shards"),
    ), prepared


class _Stopped:
    """Stops a Spark session when it is closed."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark

    def close(self) -> None:
        self._spark.stop()


def _prepare(
    spark: SparkSession, source: Source, folder: Path, repeats: int
) -> tuple[PreparedData, list[tuple[float, float]]]:
    figures = []
    for _ in range(repeats):
        start, cpu = time.perf_counter(), _tree_seconds()
        found = prepare_data(
            spark.read.parquet(str(source.file)),
            store=LocalStore(prefix_path=str(folder / "store")),
            name=source.file.stem,
            feature_columns=source.features,
            label_columns=("label",),
            num_shards=_SHARDS,
            input_shape=source.input_shape,
        )
        figures.append((time.perf_counter() - start, _tree_seconds() - cpu))
    return found, figures


def _tree_seconds() -> float:
    total = 0.0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def measure_decoding(pairs: Sequence[tuple[Source, PreparedData]], folder: Path, repeats: int) -> Table:
    """Read the first shard: file to memory-mapped arrays, and arrays to tensors."""
    from cerebro_nas.worker._shard_cache import ShardCache

    rows = []
    for source, prepared in pairs:
        mapped, resident = [], []
        for number in range(repeats + 1):
            scratch = folder / f"scratch-{source.file.stem}-{number}"
            scratch.mkdir()
            cache = ShardCache(source.search(prepared), scratch, _BUDGET)
            mapped.append(_seconds(lambda cache=cache: cache.load("train", 0)))  # type: ignore[misc]
            resident.append(_seconds(lambda cache=cache: cache.resident("train", 0)))  # type: ignore[misc]
        tensors = cache.load("train", 0)
        load, hold = statistics.median(mapped[1:]), statistics.median(resident[1:])
        both = load + hold
        rows.append(
            (source.name, tensors.rows, tensors.nbytes / 1e6, 1e3 * load, 1e3 * hold, tensors.rows / both)
            + (tensors.nbytes / 1e6 / both,)
        )
    return Table(
        "Shard to memory (one worker, one shard of two)",
        ("data", "rows", "decoded MB", "decode and map ms", "to tensors ms", "rows/s", "MB/s"),
        tuple(rows),
        (f"medians of {repeats} after the first; the files are in the system's cache",),
    )


def measure_feeding(pairs: Sequence[tuple[Source, PreparedData]], folder: Path, repeats: int) -> Table:
    """Gather batches in the graph, alone and with the training step behind."""
    from cerebro_nas.worker import build_model
    from cerebro_nas.worker._loop import Loop
    from cerebro_nas.worker._shard_cache import ShardCache

    rows = []
    for source, prepared in pairs:
        scratch = folder / f"feed-{source.file.stem}"
        scratch.mkdir()
        found = ShardCache(source.search(prepared), scratch, _BUDGET).resident("train", 0)
        if found is None:
            continue
        inputs, targets = found
        count = int(inputs[0].shape[0])
        gather, order = _gather(inputs[0], targets[0], count)
        alone = statistics.median([_seconds(gather) for _ in range(repeats + 1)][1:])
        loop = Loop(build_model(source.candidate()), inputs, targets)
        train = _train(loop, inputs, targets, order)
        whole = statistics.median([_seconds(train) for _ in range(repeats + 1)][1:])
        batches = -(-count // BATCH)
        rows.append((source.name, batches / alone, count / alone, count / whole, 100 * alone / whole))
    return Table(
        "Memory to the graph",
        ("data", "batches/s, gathered only", "rows/s, gathered only", "rows/s, trained", "gathering %"),
        tuple(rows),
        (f"medians of {repeats}, one thread, batches of {BATCH} in random order", "networks: _io_data.py"),
    )


def _gather(inputs: Any, targets: Any, count: int) -> tuple[Callable[[], object], Any]:
    import tensorflow as tf

    order = tf.random.shuffle(tf.range(count), seed=0)

    @tf.function  # type: ignore[untyped-decorator]
    def gather() -> Any:
        total = tf.constant(0.0)
        for step in tf.range((count + BATCH - 1) // BATCH):
            picked = order[step * BATCH : tf.minimum((step + 1) * BATCH, count)]
            # One number of each batch is used, so that no gathering is left out.
            x, y = tf.gather(inputs, picked), tf.gather(targets, picked)
            total += tf.cast(tf.reshape(x, [-1])[0], tf.float32) + tf.reshape(y, [-1])[0]
        return total

    return gather, order


def _train(loop: Any, inputs: Any, targets: Any, order: Any) -> Callable[[], object]:
    return lambda: loop.train(inputs, targets, order, BATCH)


def measure_units(pairs: Sequence[tuple[Source, PreparedData]], folder: Path, repeats: int) -> Table:
    """Run units in an engine, and see what of their time goes into the shard."""
    from cerebro_nas.worker import Engine

    rows = []
    for source, prepared in pairs:
        spec = source.candidate()
        engine = Engine(source.search(prepared), folder / f"units-{source.file.stem}")
        found = []
        for generation in range(repeats + 1):
            unit = Unit(spec.trial, "train", generation, Shard("train", 0))
            found.append(engine.run(unit, spec, generation, bytes).report)
        engine.close()
        seconds = statistics.median(report.seconds for report in found[1:])
        share = statistics.median(report.detail["shard_s"] / report.seconds for report in found[1:])
        first = found[0].detail["shard_s"]
        spread = first / (first + _SEARCH_UNITS * seconds)
        rows.append((source.name, found[0].rows, seconds, 1e3 * first, 100 * share, 100 * spread))
    return Table(
        "Share of a sub-epoch that is spent on reading its shard",
        ("data", "rows", "sub-epoch s", "first read ms", "share after it %", f"share over {_SEARCH_UNITS} visits %"),
        tuple(rows),
        (
            f"bar: {100 * BAR_SHARE:g} % after the first read; medians of {repeats}",
            f"share over {_SEARCH_UNITS} visits: the first read spread over those of W8 (8 candidates, 3 epochs)",
        ),
    )


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
