"""What the workers of the task-parallel peers share: the data, loaded once a process, and the training of a candidate.

A worker is a process of a peer's own making, so it leaves its times in a file of its own in the scratch directory.
"""

from __future__ import annotations

import functools
import json
import os
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import common
from floor_graph import cost


def longest_first(path: Path) -> list[dict[str, Any]]:
    """Candidates of the file in the order that leaves workers idle for the shortest time, as the floors take them."""
    return sorted(common.load_candidates(path), key=cost, reverse=True)


@functools.cache
def load_once(data: Path, scratch: Path) -> tuple[Any, Any]:
    """Both splits, kept for the next candidates of this process; afterwards it is ready for its first step."""
    import keras  # noqa: F401  (its import, and TensorFlow's with it, belongs to the start)

    splits = common.load_split(data, "train"), common.load_split(data, "valid")
    _append(scratch, {"ready": time.time()})
    return splits


def train(candidate: dict[str, Any], data: Path, scratch: Path, epochs: int, batch_size: int) -> float:
    """Validation accuracy of the candidate after its last epoch."""
    learning, valid = load_once(data, scratch)
    with measured(scratch):
        model = common.build(candidate)
        history = model.fit(*learning, batch_size=batch_size, epochs=epochs, validation_data=valid, verbose=0)
    return float(history.history["val_accuracy"][-1])


@contextmanager
def measured(scratch: Path) -> Iterator[None]:
    """Count what runs inside as time in which this worker was busy with a candidate."""
    began = time.time()
    yield
    _append(scratch, {"busy": time.time() - began})


def save(arguments: Namespace, system: str, accuracies: dict[str, float]) -> None:
    """Write the result, with `ready`, when the last worker was, and `busy`, seconds of all workers on candidates.

    Peers go on when a candidate fails; a side must not.
    """
    missing = {candidate["name"] for candidate in common.load_candidates(arguments.candidates)} - set(accuracies)
    if missing:
        raise SystemExit(f"{system}: no result of {', '.join(sorted(missing))}.")
    files = arguments.scratch.glob("worker-*.jsonl")
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    ready = max(line["ready"] for line in lines if "ready" in line)
    busy = sum(line["busy"] for line in lines if "busy" in line)
    common.save_result(arguments.out, system, accuracies, ready=ready, busy=busy)


def _append(scratch: Path, line: dict[str, float]) -> None:
    with (scratch / f"worker-{os.getpid()}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
