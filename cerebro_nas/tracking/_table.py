"""A leaderboard as text that fits a terminal."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.tracking._format import counted
from cerebro_nas.tracking._format import format_count
from cerebro_nas.tracking._format import format_duration
from cerebro_nas.tracking._format import format_metric
from cerebro_nas.tracking._format import format_value
from cerebro_nas.tracking._format import short_names
from cerebro_nas.tracking._format import telling_reason

if TYPE_CHECKING:
    import pandas as pd

_Column = list[str]
_MAX_CELL = 24
# What a reader looks for first: shown before all others, where they differ.
_WANTED = ("learning_rate", "optimizer", "batch_size")
# Objectives that are counts of the candidate.
_COUNTS = ("parameters", "flops")


def format_leaderboard(table: pd.DataFrame, top: int = 10, width: int | None = None) -> str:
    """Write the best trials as aligned text.

    With several objectives there is a column for each of the others and one for the Pareto front, and where trials
    began with the weights of others one for their parents. Hyperparameters that are the same in every trial are left
    out, the others get the shortest name that is still unique; when the table is too wide, learning rate, optimizer and
    batch size come before those with the most different values, and a last line says how many are missing.

    Args:
        table: what `leaderboard` returned.
        top: rows at most.
        width: characters per line at most; the terminal's by default.
    """
    if table.empty:
        return "No trial yet."
    limit = width or shutil.get_terminal_size((100, 24)).columns
    shown = table.head(top)
    fixed, costs = _fixed(shown), _costs(shown)
    varying = _varying(table)
    names = short_names(varying)
    tuned = {name: _column(names[name], shown[f"hp.{name}"].tolist()) for name in varying}
    kept = sorted(varying, key=lambda name: _telling(table, name))
    while kept and _width(fixed + [tuned[name] for name in kept] + costs) > limit:
        kept.pop()
    columns = fixed + [tuned[name] for name in varying if name in kept] + costs
    while len(columns) > 3 and _width(columns) > limit:
        columns.pop()
    lines = [line[:limit] for line in _align(columns)]
    return "\n".join(lines + _footer(table, shown, len(tuned) - len(kept), limit))


def _fixed(shown: pd.DataFrame) -> list[_Column]:
    columns = [
        ["#", *(str(rank) for rank in range(1, len(shown) + 1))],
        _column("trial", shown["trial"].tolist()),
        ["score", *(_score(value) for value in shown["score"].tolist())],
    ]
    others = [name for name in shown.attrs.get("objectives", [])[1:] if f"metric.{name}" in shown]
    for name in others:
        columns.append([name, *(_objective(name, value) for value in shown[f"metric.{name}"].tolist())])
    if "pareto" in shown:
        columns.append(["pareto", *("yes" if value else "-" for value in shown["pareto"].tolist())])
    if set(shown["status"]) != {"COMPLETED"}:
        columns.append(_column("status", shown["status"].tolist()))
    # A table read from CSV has its empty reasons missing.
    told = ["" if _missing(reason) else reason for reason in shown["reason"].tolist()]
    reasons = [telling_reason(status, reason) for status, reason in zip(shown["status"], told, strict=True)]
    if any(reasons):
        columns.append(["reason", *reasons])
    if "parent" in shown:
        columns.append(_column("parent", shown["parent"].tolist()))
    return columns


def _costs(shown: pd.DataFrame) -> list[_Column]:
    parameters = ["-" if _missing(v) else format_count(float(v)) for v in shown["cost.parameters"].tolist()]
    seconds = [format_duration(float(v)) for v in shown["cost.seconds"].tolist()]
    epochs = [str(v) for v in shown["cost.epochs"].tolist()]
    return [["params", *parameters], ["epochs", *epochs], ["time", *seconds]]


def _varying(table: pd.DataFrame) -> list[str]:
    names = [str(name)[3:] for name in table.columns if str(name).startswith("hp.")]
    return [name for name in names if table[f"hp.{name}"].astype("object").map(_text).nunique() > 1]


def _telling(table: pd.DataFrame, name: str) -> tuple[int, int]:
    """Lower for hyperparameters that say more of a trial."""
    tail = name.rpartition("/")[2]
    values = int(table[f"hp.{name}"].astype("object").map(_text).nunique())
    return _WANTED.index(tail) if tail in _WANTED else len(_WANTED), -values


def _column(title: str, values: list[Any]) -> _Column:
    return [title, *(_text(value) for value in values)]


def _text(value: Any) -> str:
    text = "-" if _missing(value) else format_value(value)
    return text if len(text) <= _MAX_CELL else f"{text[: _MAX_CELL - 3]}..."


def _score(value: float) -> str:
    return "-" if _missing(value) else format_metric(value)


def _objective(name: str, value: float) -> str:
    return format_count(value) if name in _COUNTS and not _missing(value) else _score(value)


def _missing(value: Any) -> bool:
    import pandas as pd

    return value is None or value is pd.NA or (isinstance(value, float) and value != value)


def _width(columns: list[_Column]) -> int:
    return sum(max(map(len, column)) + 2 for column in columns) - 2


def _align(columns: list[_Column]) -> list[str]:
    widths = [max(map(len, column)) for column in columns]
    left = [column[0] in ("trial", "status", "reason", "parent") for column in columns]
    lines = []
    for row in range(len(columns[0])):
        cells = [
            column[row].ljust(width) if flush else column[row].rjust(width)
            for column, width, flush in zip(columns, widths, left, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _footer(table: pd.DataFrame, shown: pd.DataFrame, hidden: int, limit: int) -> list[str]:
    notes = []
    if len(table) > len(shown):
        notes.append(counted(len(table) - len(shown), "more trial"))
    if hidden:
        notes.append(counted(hidden, "more hyperparameter"))
    bad = int(table["status"].isin(["FAILED", "REJECTED"]).sum())
    if bad:
        notes.append(f"{bad} failed or rejected")
    return [f"({', '.join(notes)})"[:limit]] if notes else []
