"""The leaderboard: trials as a pandas DataFrame, best first."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal

from cerebro_nas.errors import ConfigError
from cerebro_nas.tracking._records import TrialRecord
from cerebro_nas.tracking._view import Direction

if TYPE_CHECKING:
    import pandas as pd

_FAILED = ("FAILED", "REJECTED")


def leaderboard(
    records: Sequence[TrialRecord],
    objective: str,
    direction: Direction,
    at: Literal["best", "last"] = "best",
    others: Sequence[tuple[str, Direction]] = (),
) -> pd.DataFrame:
    """Put trials into a table, best first.

    Columns: `trial`, `score` (the objective), `status`, `reason`, `hp.<name>` (missing where a hyperparameter is not
    active), `metric.<name>`, `cost.parameters`, `cost.flops`, `cost.latency_ms`, `cost.seconds`, `cost.epochs`,
    `cost.units` (see `TrialCost`), and `best_epoch`, the epoch (from 0) that score and metrics are of; `parent`, where
    a trial began with the weights of another one; with several objectives `pareto`: no other trial is as good in all of
    them and better in one; `attrs["objectives"]` of the table has the names of all objectives. Trials without a finite
    score follow those with one; failed and then rejected ones are last, in the same order among themselves. Trials that
    tie stay in the order given.

    Args:
        records: the trials.
        objective: metric that is optimised.
        direction: `"max"` or `"min"`.
        others: further objectives, each with its direction.
        at: `"best"`: score and metrics of each trial's best epoch. `"last"`: of its last one.

    Raises:
        ConfigError: `direction` or `at` is none of these.
    """
    import pandas as pd

    _check_choice("direction", direction, ("min", "max"))
    _check_choice("at", at, ("best", "last"))
    objectives = [objective, *(name for name, _ in others)]
    scored = [_score(record, objectives, direction, at) for record in records]
    order = sorted(range(len(records)), key=lambda i: _rank(records[i], scored[i][0], direction))
    rows = [records[i] for i in order]
    metrics = [scored[i][1] for i in order]
    columns: dict[str, pd.Series[Any]] = {
        "trial": pd.Series([r.trial for r in rows], dtype="object"),
        # Second, so that pandas shows it in a terminal of any width.
        "score": pd.Series([scored[i][0] for i in order], dtype="float64"),
        "status": pd.Series([r.status_name for r in rows], dtype="object"),
        "reason": pd.Series([r.reason for r in rows], dtype="object"),
    }
    for name in _names([r.hyperparameters for r in records]):
        columns[f"hp.{name}"] = _typed([r.hyperparameters.get(name) for r in rows])
    for name in _names([m for _, m, _ in scored]):
        columns[f"metric.{name}"] = pd.Series([m.get(name, math.nan) for m in metrics], dtype="float64")
    columns["cost.parameters"] = pd.Series([r.cost.parameters for r in rows], dtype="Int64")
    columns["cost.flops"] = pd.Series([r.cost.flops for r in rows], dtype="Int64")
    columns["cost.latency_ms"] = pd.Series([r.cost.latency_ms for r in rows], dtype="float64")
    columns["cost.seconds"] = pd.Series([r.cost.seconds for r in rows], dtype="float64")
    columns["cost.epochs"] = pd.Series([r.cost.epochs for r in rows], dtype="int64")
    columns["cost.units"] = pd.Series([r.cost.units for r in rows], dtype="int64")
    columns["best_epoch"] = pd.Series([scored[i][2] for i in order], dtype="Int64")
    if any(record.parent for record in records):
        columns["parent"] = pd.Series([r.parent or pd.NA for r in rows], dtype="string")
    if others:
        columns["pareto"] = pd.Series(_pareto(rows, metrics, [(objective, direction), *others]), dtype="bool")
    table = pd.DataFrame(columns)
    table.attrs["objectives"] = objectives
    return table


def _pareto(
    rows: Sequence[TrialRecord], metrics: Sequence[dict[str, float]], objectives: Sequence[tuple[str, Direction]]
) -> list[bool]:
    """Which trials no other one dominates."""
    signs = [(name, -1.0 if direction == "max" else 1.0) for name, direction in objectives]
    values = [[sign * found.get(name, math.nan) for name, sign in signs] for found in metrics]
    fair = [
        row.status_name not in _FAILED and all(map(math.isfinite, point))
        for row, point in zip(rows, values, strict=True)
    ]
    candidates = [point for point, counts in zip(values, fair, strict=True) if counts]
    return [
        counts and not any(_dominates(other, point) for other in candidates)
        for point, counts in zip(values, fair, strict=True)
    ]


def _dominates(other: Sequence[float], point: Sequence[float]) -> bool:
    return other != point and all(a <= b for a, b in zip(other, point, strict=True))


def save_leaderboard(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a leaderboard as CSV or Parquet, by the suffix of `path`. The file appears whole or not at all.

    Raises:
        ConfigError: the suffix is neither `.csv` nor `.parquet`.
    """
    target = Path(path)
    writers: dict[str, Callable[[Path], object]] = {
        ".csv": lambda where: table.to_csv(where, index=False),
        ".parquet": lambda where: _arrow_safe(table).to_parquet(where, index=False),
    }
    writer = writers.get(target.suffix.lower())
    if writer is None:
        raise ConfigError(
            "`path` must end with '.csv' or '.parquet'. "
            f"Received: path={str(target)!r}. Give the file one of these suffixes."
        )
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        writer(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _score(
    record: TrialRecord, objectives: Sequence[str], direction: Direction, at: str
) -> tuple[float, dict[str, float], int | None]:
    """Score, by the first objective, metrics and their epoch."""
    objective = objectives[0]
    epoch = record.best_epoch(objective, direction) if at == "best" else None
    if epoch is None and record.history and not record.metrics:
        epoch = len(record.history) - 1
    metrics = record.metrics_at(epoch, objectives)
    if epoch is None and record.history:
        epoch = len(record.history) - 1
    return float(metrics.get(objective, math.nan)), metrics, epoch


def _rank(record: TrialRecord, score: float, direction: Direction) -> tuple[int, float]:
    bad = 2 * (1 + _FAILED.index(record.status_name)) if record.status_name in _FAILED else 0
    if not math.isfinite(score):
        return bad + 1, 0.0
    return bad, -score if direction == "max" else score


def _names(dicts: Sequence[dict[str, Any]]) -> list[str]:
    """All keys, in the order in which they first appear."""
    return list(dict.fromkeys(name for values in dicts for name in values))


def _typed(values: list[Any]) -> pd.Series[Any]:
    """A column whose missing entries are NA and whose integers stay integers."""
    import pandas as pd

    plain = [str(v) if isinstance(v, list | tuple | dict | set) else v for v in values]
    kinds = {type(v) for v in plain if v is not None}
    dtype: Any = "object"
    for name, members in (("boolean", {bool}), ("Int64", {int}), ("Float64", {int, float}), ("string", {str})):
        if kinds and kinds <= members:
            dtype = name
            break
    return pd.Series([pd.NA if v is None else v for v in plain], dtype=dtype)


def _arrow_safe(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of mixed types as text: Parquet has one type per column."""
    safe = table.copy()
    for name in safe.columns:
        if safe[name].dtype == object:
            safe[name] = safe[name].map(str, na_action="ignore").astype("string")
    return safe


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"`{name}` must be one of {choices}. Received: {name}={value!r}. Choose one of these.")
