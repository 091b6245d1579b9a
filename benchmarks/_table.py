"""Tables of figures: as Markdown that also reads well in a terminal, and as JSON with the machine's facts."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from datetime import timezone
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).resolve().parent / "results"
"""Where tables are saved unless told otherwise."""

_DIGITS = 3
_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "autokeras", "keras-tuner", "pyspark", "pyarrow", "numpy")
# Read when a benchmark is imported: its own work would show in it later.
_LOAD_AT_START = os.getloadavg()


@dataclass(frozen=True)
class Table:
    """A table of figures.

    Attributes:
        title: what it shows.
        columns: their names, with units.
        rows: as many cells each as there are columns; strings, numbers, booleans or None.
        notes: what a reader has to know to read it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"A row of `{self.title}` must have {len(self.columns)} cells. Received: row={row!r}.")

    def markdown(self) -> str:
        """The table as Markdown, its columns aligned."""
        cells = [[format_cell(cell) for cell in row] for row in self.rows]
        columns = [column.replace("|", "\\|") for column in self.columns]
        widths = [max(3, *(len(row[i]) for row in (columns, *cells))) for i in range(len(columns))]
        right = [_is_numeric(row[i] for row in self.rows) for i in range(len(columns))]
        rule = ["-" * (width - 1) + (":" if to_right else "-") for width, to_right in zip(widths, right, strict=True)]
        lines = [f"### {self.title}", "", _line(columns, widths, right), _line(rule, widths, right)]
        lines += [_line(row, widths, right) for row in cells]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join([*lines, ""])

    def to_plain(self) -> dict[str, Any]:
        """The table as values that JSON can hold; numbers that are not finite become None."""
        return {
            "title": self.title,
            "columns": list(self.columns),
            "rows": [[_plain(cell) for cell in row] for row in self.rows],
            "notes": list(self.notes),
        }


def save(tables: Sequence[Table], directory: Path, name: str) -> None:
    """Write `name`.json (tables and the machine's facts) and `name`.md below `directory`, which is made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    facts = machine_facts()
    content = {"benchmark": name, "machine": facts, "tables": [table.to_plain() for table in tables]}
    (directory / f"{name}.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    texts = [f"# {name}\n", *(table.markdown() for table in tables), describe_machine(facts) + "\n"]
    (directory / f"{name}.md").write_text("\n".join(texts), encoding="utf-8")


def show(tables: Sequence[Table], directory: Path, name: str) -> None:
    """Print the tables and save them."""
    for table in tables:
        print(table.markdown(), flush=True)
    save(tables, directory, name)
    print(f"{describe_machine(machine_facts())}\nSaved as {directory / name}.json and .md")


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--quick` and `--results`, which every benchmark has."""
    parser.add_argument("--quick", action="store_true", help="few repetitions of small work: seconds, to try it out")
    parser.add_argument(
        "--results",
        "--out",
        dest="out",
        type=Path,
        default=RESULTS,
        help="where tables are saved (default: %(default)s)",
    )


def machine_facts() -> dict[str, Any]:
    """What figures depend on: the machine, the versions, and how busy the machine was before the benchmark."""
    found = {package: _version(package) for package in _PACKAGES}
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
        "load_at_start": [round(load, 2) for load in _LOAD_AT_START],
        **{package: version for package, version in found.items() if version is not None},
    }


def describe_machine(facts: dict[str, Any]) -> str:
    """The facts in one line."""
    load = ", ".join(f"{value:g}" for value in facts["load_at_start"])
    versions = ", ".join(f"{package} {facts[package]}" for package in _PACKAGES if package in facts)
    return (
        f"{facts['cores']} cores, {facts['memory_gb']} GB, load at start {load}; Python {facts['python']}, {versions}; "
        f"{facts['date']}"
    )


def format_cell(cell: object) -> str:
    """A cell as text: floats with three digits that count, whole numbers in groups of three."""
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return _format_float(cell)
    return str(cell).replace("|", "\\|").replace("\n", " ")


def _format_float(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -_DIGITS - 1:
        return f"{value:.{_DIGITS - 1}e}"
    # Rounded first: 9.999 has one digit more before the point once it is 10.0.
    rounded = round(value, _DIGITS - 1 - magnitude)
    return f"{rounded:,.{max(0, _DIGITS - 1 - math.floor(math.log10(abs(rounded))))}f}"


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    )
    return "| " + " | ".join(padded) + " |"


def _is_numeric(cells: Iterable[object]) -> bool:
    given = [cell for cell in cells if cell is not None]
    return bool(given) and all(isinstance(cell, (int, float)) for cell in given)


def _plain(cell: object) -> object:
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None
    return cell if cell is None or isinstance(cell, (str, int)) else str(cell)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
