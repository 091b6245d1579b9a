"""Fuzzing: input of unknown origin, made from good input and a seed, for everything that reads it.

An input is refused in the words of our own errors or taken; it takes no time and no memory to speak of. Whatever else
happens is a finding: the input is written to a file, and the command ends with status 1.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import logging
import tempfile
from pathlib import Path

from benchmarks._fuzzing import Figures
from benchmarks._fuzzing import Reader
from benchmarks._fuzzing import fuzz
from benchmarks._table import Table
from benchmarks._table import add_common_arguments
from benchmarks._table import show

TARGETS = {
    "journal": "benchmarks._fuzz_journal",
    "state": "benchmarks._fuzz_state",
    "safetensors": "benchmarks._fuzz_safetensors",
    "protocol": "benchmarks._fuzz_protocol",
    "archive": "benchmarks._fuzz_archive",
}
WORST_SECONDS = 5.0
"""An input that takes longer is too slow, though no hang."""

PEAK_BYTES = 256 << 20
"""Most memory beyond that of the beginning."""

_LINES = 24
_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m benchmarks fuzz`."""
    add_common_arguments(parser)
    parser.add_argument("--target", choices=TARGETS, required=True, help="what is to read the inputs")
    parser.add_argument("--reader", help="only the reader of this name")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all inputs (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input (default: %(default)s)")
    parser.add_argument("--inputs", type=int, help="how many at most (default: as many as there is time for)")


def run(arguments: argparse.Namespace) -> int:
    """Fuzz and show the table; 1 if anything was found."""
    # Refusals are what is wanted here; written out they would be most of the work.
    logging.disable(logging.CRITICAL)
    arguments.out.mkdir(parents=True, exist_ok=True)
    last = arguments.out / f"fuzz-{arguments.target}-last.bin"
    faulthandler.enable()
    try:
        with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None) as directory:
            figures = fuzz(
                _readers(arguments.target, Path(directory), arguments.reader),
                seed=arguments.seed,
                seconds=5.0 if arguments.quick else arguments.seconds,
                first=arguments.first,
                inputs=arguments.inputs,
                last_input=last,
            )
    finally:
        logging.disable(logging.NOTSET)
    last.unlink(missing_ok=True)
    name = f"fuzz-{arguments.target}"
    for number, finding in enumerate(figures.findings):
        path = arguments.out / f"{name}-{number}.bin"
        path.write_bytes(finding.data)
        print(f"{finding.reader}, input {finding.number} of seed {arguments.seed} ({path}):\n{brief(finding.text)}")
    show([table(arguments.target, arguments.seed, figures)], arguments.out, name)
    return 0 if is_fine(figures) else 1


def _readers(target: str, directory: Path, name: str | None) -> list[Reader]:
    found: list[Reader] = importlib.import_module(TARGETS[target]).readers(directory)
    return [reader for reader in found if name in (None, reader.name)]


def is_fine(figures: Figures) -> bool:
    """Whether nothing was found, no input was slow, and memory stayed bounded."""
    slowest = max((count.worst_seconds for count in figures.counts.values()), default=0.0)
    return not figures.findings and slowest <= WORST_SECONDS and figures.peak_growth <= PEAK_BYTES


def brief(text: str) -> str:
    """The end of a traceback; those of recursion are of no use as a whole."""
    lines = text.strip().splitlines()
    return "\n".join(line[:300] for line in lines[-_LINES:])


def table(target: str, seed: int, figures: Figures) -> Table:
    """What became of the inputs."""
    found = [finding.reader for finding in figures.findings]
    return Table(
        f"Fuzzing: {target}",
        ("reader", "inputs", "refused", "taken", "slowest ms", "which", "largest bytes", "findings"),
        tuple(
            (
                *(name, count.tried, count.refused, count.tried - count.refused - found.count(name)),
                *(1e3 * count.worst_seconds, f"#{count.worst_number}", count.largest_bytes, found.count(name)),
            )
            for name, count in figures.counts.items()
        ),
        (
            f"seed {seed}, {figures.seconds:.0f} s; each input follows from the seed and its number",
            f"memory beyond the beginning: {figures.peak_growth / 2**20:.0f} MiB at most, "
            f"{figures.kept_growth / 2**20:.0f} MiB in the end",
            "findings: exceptions that no documentation names, hangs, broken promises; one for each place in the code",
        ),
    )
