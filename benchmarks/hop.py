"""One hop by part: state out, from worker to worker, state in, and what the first step after costs more."""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._errors import BenchmarkError
from benchmarks._hop_models import ROWS
from benchmarks._hop_models import SIZES
from benchmarks._hop_models import Size
from benchmarks._hop_models import candidate
from benchmarks._hop_models import two_shards
from benchmarks._hop_models import use_one_thread
from benchmarks._table import Table
from benchmarks._table import add_common_arguments
from benchmarks._table import show
from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import RunCommand
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker._memory import keep_freed_memory
from cerebro_nas.worker.link import Peers
from cerebro_nas.worker.link import Secret

BAR_MS = 30.0
"""What a hop of a candidate of a million parameters may take, all parts, median."""

_SECRET = "ab" * 32
_UNIT_SECONDS = 120.0

# A worker as far as states are served: reads a state's file, says where it serves it, ends with its input.
_SERVER = """
import os, sys
from pathlib import Path
from cerebro_nas.worker._memory import keep_freed_memory
from cerebro_nas.worker.link import Secret, States, StateServer
keep_freed_memory()
states = States()
states.put("t", 1, Path(sys.argv[1]).read_bytes())
print(StateServer("127.0.0.1", Secret(sys.argv[2]), states).location, flush=True)
sys.stdin.read()
os._exit(0)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m benchmarks hop`."""
    add_common_arguments(parser)
    parser.add_argument("--repeats", type=int, default=25, help="measurements of each part (default: %(default)s)")
    parser.add_argument("--checkpoint", action="store_true", help="write each state to disk meanwhile, as searches do")


def run(arguments: argparse.Namespace) -> int:
    """Measure hops and show the tables; 0 if the bar is met."""
    use_one_thread()
    repeats, sizes = (3, SIZES[:1]) if arguments.quick else (arguments.repeats, SIZES)
    with tempfile.TemporaryDirectory(prefix="hop-") as folder:
        specs = {size.name: candidate(size) for size in sizes}
        parts = measure_parts(sizes, specs, Path(folder), repeats)
        whole = measure_whole(sizes, specs, Path(folder), repeats, arguments.checkpoint)
    show([parts, whole], arguments.out, "hop")
    missed = [row for row in whole.rows if row[0] == "1 M dense" and float(str(row[-1])) > BAR_MS]
    if missed:
        print(f"BAR MISSED: a hop of 1 M parameters takes {missed[0][-1]:.1f} ms, of {BAR_MS:g}.")
    return 1 if missed else 0


def measure_parts(sizes: Sequence[Size], specs: dict[str, CandidateSpec], folder: Path, repeats: int) -> Table:
    """Measure each part for itself, in this process; a second one serves the state."""
    keep_freed_memory()
    rows = [_parts(size, specs[size.name], folder / "state", repeats) for size in sizes]
    return Table(
        "A hop by part, each for itself",
        ("model", "parameters", "state MB", "out ms", "transfer ms", "in ms", "first step more ms", "all ms"),
        tuple(rows),
        (
            f"medians of {repeats}, one thread; the state holds Adam's numbers too",
            "transfer: Arrow Flight over loopback from a second process, connected before",
            f"first step more: one step of {ROWS} rows right after the state was set, less one without",
        ),
    )


def _parts(size: Size, spec: CandidateSpec, file: Path, repeats: int) -> tuple[object, ...]:
    import tensorflow as tf

    from cerebro_nas.worker import build_model
    from cerebro_nas.worker import dump_state
    from cerebro_nas.worker import restore_state
    from cerebro_nas.worker._loop import Loop

    model = build_model(spec)
    inputs, targets = (tf.random.uniform((ROWS, 784)),), (tf.one_hot(tf.range(ROWS) % 10, 10),)
    loop = Loop(model, inputs, targets)

    def step() -> None:
        loop.train(inputs, targets, tf.range(ROWS), ROWS)

    step()
    state = dump_state(model, {"trial": "t", "generation": 1})
    out = _median_ms(lambda: dump_state(model, {"trial": "t", "generation": 1}), repeats)
    file.write_bytes(state)
    with _serving(file) as location:
        peers = Peers(Secret(_SECRET))
        transfer = _median_ms(lambda: peers.fetch(location, "t", 1), repeats)
        peers.close()
    into = _median_ms(lambda: restore_state(model, state), repeats)
    after = _median_ms(step, repeats, before=lambda: restore_state(model, state))
    more = max(0.0, after - _median_ms(step, repeats))
    return size.name, spec.parameters, len(state) / 1e6, out, transfer, into, more, out + transfer + into + more


@contextlib.contextmanager
def _serving(file: Path) -> Iterator[str]:
    command = [sys.executable, "-c", _SERVER, str(file), _SECRET]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            location = process.stdout.readline().strip() if process.stdout is not None else ""
            if not location:
                raise BenchmarkError("The process that serves states ended at once; see its message above.")
            yield location
        finally:
            process.kill()


def _median_ms(call: Callable[[], object], repeats: int, before: Callable[[], object] = lambda: None) -> float:
    """Median of `repeats` calls after one that does not count."""
    seconds = []
    for _ in range(repeats + 1):
        before()
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds[1:])


def measure_whole(
    sizes: Sequence[Size], specs: dict[str, CandidateSpec], folder: Path, repeats: int, checkpoint: bool
) -> Table:
    """Measure units on two real workers: one that hops against one that stays."""
    with LocalBackend(2, threads_per_worker=1) as backend:
        backend.start(two_shards(folder / "data", checkpoint))
        _wait(backend, WorkerJoined, 2)
        rows = [_whole(backend, size, specs[size.name], repeats) for size in sizes]
    columns = (
        "unit that stays",
        "unit that hops",
        "difference",
        "state out",
        "fetch and in",
        "message",
        "hop, all parts",
    )
    return Table(
        "Units on two workers: hopping against staying",
        ("model", "parameters", "state MB", *(f"{column} ms" for column in columns)),
        tuple(rows),
        (
            f"medians of {repeats} after both workers had built the model; a unit is one step of {ROWS} rows",
            "units are timed by the driver, from the command to the news; state out is in both kinds",
            "message: time of a unit that stays outside of the worker's engine: command, its way, and the news back",
            "hop, all parts: difference + state out"
            + ("; states were written to disk meanwhile" if checkpoint else "; nothing was written to disk"),
        ),
    )


def _whole(backend: LocalBackend, size: Size, spec: CandidateSpec, repeats: int) -> tuple[object, ...]:
    visits = _Visits(backend, spec)
    for worker in (0, 1, 0, 1):
        visits.go(worker)
    hops, stays = [], []
    for number in range(repeats):
        hops.append(visits.go(number % 2))
        stays.append(visits.go(number % 2))
    stay, hop = (1e3 * statistics.median(found[0] for found in units) for units in (stays, hops))
    out = 1e3 * statistics.median(found[1].detail["state_out_s"] for found in hops)
    into = 1e3 * statistics.median(found[1].detail["state_in_s"] for found in hops)
    message = 1e3 * statistics.median(found[0] - found[1].seconds for found in stays)
    megabytes = hops[0][1].detail["state_bytes"] / 1e6
    return size.name, spec.parameters, megabytes, stay, hop, hop - stay, out, into, message, hop - stay + out


class _Visits:
    """One candidate's way between two workers."""

    def __init__(self, backend: LocalBackend, spec: CandidateSpec) -> None:
        self._backend = backend
        self._spec = spec
        self._state = StateRef(0)

    def go(self, index: int) -> tuple[float, Any]:
        """Train on the shard of this worker; return seconds and the report."""
        worker, generation = f"w{index}", self._state.generation
        unit = Unit(self._spec.trial, "train", generation, Shard("train", index))
        start = time.perf_counter()
        self._backend.submit(worker, RunCommand(unit, self._state, self._spec))
        (done,) = _wait(self._backend, UnitDone, 1)
        seconds = time.perf_counter() - start
        self._state = StateRef(generation + 1, holder=worker)
        return seconds, done.report


def _wait(backend: LocalBackend, kind: type[Any], count: int) -> list[Any]:
    found: list[Any] = []
    deadline = time.monotonic() + _UNIT_SECONDS
    while len(found) < count:
        events = backend.events(1.0)
        found += [event for event in events if isinstance(event, kind)]
        failed = [event for event in events if isinstance(event, UnitFailed)]
        if failed or time.monotonic() > deadline:
            raise BenchmarkError(failed[0].message if failed else f"No {kind.__name__} came in {_UNIT_SECONDS:.0f} s.")
    return found
