"""What checkpoints take from training: candidates of three sizes, short and long sub-epochs, with and without."""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import Literal
from typing import TypedDict

from benchmarks._hop_models import ROWS
from benchmarks._hop_models import Size
from benchmarks._hop_models import candidate
from benchmarks._hop_models import use_one_thread
from benchmarks._table import Table
from benchmarks._table import add_common_arguments
from benchmarks._table import show
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import Unit
from cerebro_nas.storage import StateFiles
from cerebro_nas.worker._checkpoints import Checkpoints
from cerebro_nas.worker._memory import keep_freed_memory
from cerebro_nas.worker._write_budget import WriteBudget

EPOCH_UNITS = 4
"""Train units of an epoch: every fourth state must be written."""

SIZES = (Size("20 k dense", (25,)), Size("1 M dense", (1000, 210)), Size("10 M dense", (4096, 1640)))

_DRAIN_SECONDS = 60.0
_SIDES = ("none", "in budget", "every state")


class Block(TypedDict):
    """What some units in a row took: seconds from the first to the last, and of the processor until the last write."""

    wall: float
    cpu: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m benchmarks checkpoint`."""
    add_common_arguments(parser)
    parser.add_argument("--repeats", type=int, default=7, help="blocks of units of each side (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[0.1, 1.0], help="lengths of sub-epochs (default: 0.1 1)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure and show the table."""
    use_one_thread()
    keep_freed_memory()
    # One core for training and writing, as where every core has a worker: nothing is hidden by an idle one.
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    quick = arguments.quick
    try:
        rows = [
            _measure(size, seconds, 2 if quick else arguments.repeats)
            for size in (SIZES[:1] if quick else SIZES)
            for seconds in ([0.02] if quick else arguments.seconds)
        ]
    finally:
        os.sched_setaffinity(0, cores)
    show([_table(rows, arguments.repeats)], arguments.out, "checkpoint")
    return 0


def _table(rows: Sequence[tuple[object, ...]], repeats: int) -> Table:
    return Table(
        "What checkpoints take from training",
        (
            *("model", "parameters", "state MB", "sub-epoch s", "one write, CPU ms"),
            *("in budget: wall %", "CPU %", "by its own account %", "states written %"),
            *("every state: wall %", "CPU %", "states written %"),
        ),
        tuple(rows),
        (
            f"medians of {repeats} rounds; in each, all sides take their turn, in any order, on one core",
            f"an epoch has {EPOCH_UNITS} sub-epochs; the state at its end is written also beyond the budget",
            "%: beyond the same units without checkpoints; state out, which a hop needs anyway, is in all sides",
            "wall: until the last unit ended; CPU: until the last write ended, the kernel's work for it included",
            "every state: a budget without limit; where the writer lags, it still skips what was superseded",
        ),
    )


class _Writer:
    """Checkpoints of one side, with what they account for."""

    def __init__(self, folder: Path, share: float) -> None:
        self._folder = folder
        self.states = StateFiles(str(folder))
        self.states.write_spec("t", "{}")
        self.budget = _Budget(share)
        self.written = self.put = 0
        self._checkpoints = Checkpoints(self.states, self._stored, print, self.budget)

    def _stored(self, *_: object) -> None:
        self.written += 1

    def take(self, generation: int, state: bytes, seconds: float) -> None:
        self.put += 1
        unit = Unit("t", "train", generation // EPOCH_UNITS, Shard("train", generation % EPOCH_UNITS))
        self._checkpoints.put(unit, generation, state, seconds, keep=generation % EPOCH_UNITS == 0)

    def drain(self) -> None:
        """Wait for the writes that are due, and for no others."""
        checkpoints = self._checkpoints
        with checkpoints._changed:
            checkpoints._changed.wait_for(
                lambda: checkpoints._writing is None and checkpoints._next() is None, _DRAIN_SECONDS
            )

    def close(self) -> None:
        self._checkpoints.close(0.0)


class _Budget(WriteBudget):
    """A budget that tells what was spent."""

    def __init__(self, share: float) -> None:
        super().__init__(share)
        self.spent = self.busy = 0.0

    def spend(self, size: int, busy: float, waited: float) -> None:
        before = self._seconds
        super().spend(size, busy, waited)
        self.spent += before - self._seconds
        self.busy += busy


def _measure(size: Size, seconds: float, repeats: int) -> tuple[object, ...]:
    spec = candidate(size)
    unit, state_bytes, took = _training(spec, seconds)
    # Short units in several epochs, so that a write is not most of what follows the last one.
    units = EPOCH_UNITS * max(1, round(1.0 / took / EPOCH_UNITS))
    with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder:
        writers = {"in budget": _Writer(Path(folder, "1"), 0.03), "every state": _Writer(Path(folder, "2"), 1e9)}
        found: dict[str, list[Block]] = {side: [] for side in _SIDES}
        draw = random.Random(0)
        for number in range(repeats + 1):
            for side in draw.sample(_SIDES, len(_SIDES)):
                block = _block(unit, units, writers.get(side))
                if number:
                    found[side].append(block)
        for writer in writers.values():
            writer.close()
    limited, every = writers["in budget"], writers["every state"]
    trained = sum(block["wall"] for block in found["in budget"]) * (repeats + 1) / repeats
    return (
        *(size.name, spec.parameters, state_bytes / 1e6, took, 1e3 * every.budget.busy / max(1, every.written)),
        *(_more(found, "in budget", "wall"), _more(found, "in budget", "cpu")),
        *(100 * limited.budget.spent / trained, 100 * limited.written / limited.put),
        *(_more(found, "every state", "wall"), _more(found, "every state", "cpu"), 100 * every.written / every.put),
    )


def _more(found: dict[str, list[Block]], side: str, what: Literal["wall", "cpu"]) -> float:
    """Median over the rounds, in percent of what the same round took without checkpoints."""
    pairs = zip(found[side], found["none"], strict=True)
    return 100 * statistics.median(one[what] / none[what] - 1 for one, none in pairs)


def _block(unit: Callable[[], bytes], units: int, writer: _Writer | None) -> Block:
    cpu, wall = time.process_time(), time.perf_counter()
    for generation in range(1, units + 1):
        start = time.perf_counter()
        state = unit()
        if writer is not None:
            writer.take(generation, state, time.perf_counter() - start)
    took = time.perf_counter() - wall
    if writer is not None:
        writer.drain()
    block = Block(wall=took, cpu=time.process_time() - cpu)
    if writer is not None:
        # As the driver does it, from another process.
        writer.states.keep_only("t", writer.states.names("t")[-2:])
    return block


def _training(spec: Any, seconds: float) -> tuple[Callable[[], bytes], int, float]:
    """A function that trains about so long and gives the state; the state's bytes, and what a call takes."""
    import tensorflow as tf

    from cerebro_nas.worker import build_model
    from cerebro_nas.worker import dump_state
    from cerebro_nas.worker._loop import Loop

    model = build_model(spec)
    rows = 8 * ROWS
    inputs, targets = (tf.random.uniform((rows, 784)),), (tf.one_hot(tf.range(rows) % 10, 10),)
    loop = Loop(model, inputs, targets)
    meta = {"trial": "t", "generation": 1}

    def train(steps: int) -> float:
        order = tf.range(steps * ROWS) % rows
        start = time.perf_counter()
        loop.train(inputs, targets, order, ROWS)
        dump_state(model, meta)
        return time.perf_counter() - start

    train(1)
    base, more = (min(train(steps) for _ in range(3)) for steps in (1, 11))
    steps = max(1, 1 + round((seconds - base) / max(1e-6, (more - base) / 10)))
    order = tf.range(steps * ROWS) % rows

    def unit() -> bytes:
        loop.train(inputs, targets, order, ROWS)
        return dump_state(model, meta)

    return unit, len(unit()), statistics.median(train(steps) for _ in range(3))
