"""The loop of the fuzzers: make an input, have it read, see what became of it."""

from __future__ import annotations

import contextlib
import gc
import random
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import psutil

HANG_SECONDS = 20.0
"""An input that takes longer is given up, and is a finding."""

_ADDRESS_SPACE = 6 << 30
_MOST_FINDINGS = 20
_WARM_UP = 200


class HangError(Exception):
    """An input took too long."""


class BrokenPromiseError(Exception):
    """An input was taken, and what came of it is not what was promised."""


@dataclass(frozen=True)
class Reader:
    """Something that reads input of unknown origin.

    Attributes:
        name: for tables and files.
        make: draws an input. The same state of the generator gives the same input.
        read: reads it; gives anything but None where it was taken for good.
        refusals: exceptions that its documentation names.
        weight: how often it has its turn, beside the others.
    """

    name: str
    make: Callable[[random.Random], bytes]
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    weight: int = 10


@dataclass
class Count:
    """What became of the inputs of one reader."""

    tried: int = 0
    refused: int = 0
    worst_seconds: float = 0.0
    worst_number: int = -1
    largest_bytes: int = 0
    refusals: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Finding:
    """An input after which something happened that no documentation names.

    Attributes:
        reader: who read it.
        number: of the input; with the seed it gives the input again.
        text: the end of the traceback.
        data: the input.
    """

    reader: str
    number: int
    text: str
    data: bytes


@dataclass
class Figures:
    """What a run found.

    Attributes:
        counts: by reader.
        findings: one for each place in the code.
        seconds: how long it ran.
        peak_growth: most resident bytes beyond those after warming up.
        kept_growth: resident bytes in the end beyond those after warming up.
    """

    counts: dict[str, Count]
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    peak_growth: int = 0
    kept_growth: int = 0


def fuzz(
    readers: list[Reader],
    *,
    seed: int,
    seconds: float,
    first: int = 0,
    inputs: int | None = None,
    last_input: Path | None = None,
) -> Figures:
    """Give the readers inputs until the time is over, `inputs` were tried, or much was found.

    Input number n follows from the seed and n alone.

    Args:
        readers: take turns by their weights.
        seed: of all inputs.
        seconds: how long.
        first: number of the first input.
        inputs: how many at most; None: as many as there is time for.
        last_input: file in which each input is kept while it is read, for what ends the process; None: none.
    """
    figures = Figures({reader.name: Count() for reader in readers})
    weights = [reader.weight for reader in readers]
    began, number, base = time.monotonic(), first, 0
    places: set[str] = set()
    with _limited_memory():
        while time.monotonic() - began < seconds and (inputs is None or number - first < inputs):
            draw = random.Random(f"{seed}/{number}")
            reader = draw.choices(readers, weights)[0]
            finding = _try(reader, draw, number, figures.counts[reader.name], last_input)
            if finding is not None and _place(finding) not in places:
                places.add(_place(finding))
                figures.findings.append(finding)
                if len(figures.findings) >= _MOST_FINDINGS:
                    break
            number += 1
            if number - first == _WARM_UP * len(readers):
                base = _base_memory()
    figures.seconds = time.monotonic() - began
    if base:
        figures.peak_growth = max(0, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base)
        gc.collect()
        figures.kept_growth = max(0, int(psutil.Process().memory_info().rss) - base)
    return figures


def _try(reader: Reader, draw: random.Random, number: int, count: Count, last_input: Path | None) -> Finding | None:
    data = reader.make(draw)
    if last_input is not None:
        last_input.write_bytes(data)
    count.tried += 1
    count.largest_bytes = max(count.largest_bytes, len(data))
    began = time.perf_counter()
    try:
        with _no_longer_than(HANG_SECONDS):
            reader.read(data)
    except reader.refusals as error:
        count.refused += 1
        count.refusals[type(error).__name__] += 1
    except Exception:  # noqa: BLE001 - whatever else comes is what is looked for
        return Finding(reader.name, number, traceback.format_exc(), data)
    finally:
        seconds = time.perf_counter() - began
        if seconds > count.worst_seconds:
            count.worst_seconds, count.worst_number = seconds, number
    return None


def _place(finding: Finding) -> str:
    """The exception's class and the line of code that raised it: inputs that differ in no more are one finding."""
    lines = finding.text.strip().splitlines()
    frames = [line.strip() for line in lines if line.strip().startswith("File ")]
    return f"{finding.reader} {lines[-1].split(':')[0]} {frames[-1] if frames else ''}"


@contextlib.contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    def give_up(*_: Any) -> None:
        raise HangError(f"It took longer than {seconds:.0f} s.")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _limited_memory() -> Iterator[None]:
    """Have an input that asks for memory without end fail, and not the machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = int(psutil.Process().memory_info().vms) + _ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _base_memory() -> int:
    """Resident bytes now; the operating system's peak begins again from them where it can."""
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return int(psutil.Process().memory_info().rss)
