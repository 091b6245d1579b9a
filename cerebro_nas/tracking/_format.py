"""How displays and tables write numbers, durations and hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Mapping

from cerebro_nas.tracking._view import WorkerView


def format_duration(seconds: float | None) -> str:
    """Write a duration: `0:07`, `12:03`, `1:02:03`, `2d 03:04`; `-` for None or anything that is not a duration."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return "-"
    total = round(seconds)
    days, rest = divmod(total, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, secs = divmod(rest, 60)
    if days:
        return f"{days}d {hours:02d}:{minutes:02d}"
    if hours:
        return f"{hours}:{minutes:02d}:{secs:02d}"
    return f"{minutes}:{secs:02d}"


def format_value(value: object) -> str:
    """Write a hyperparameter in few characters; `-` for what is missing."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_metric(value: float | None) -> str:
    """Write a metric with four decimals, very small and very large ones with an exponent; `-` for None."""
    if value is None:
        return "-"
    if value != 0 and math.isfinite(value) and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.3e}"
    return f"{value:.4f}"


def format_count(count: float) -> str:
    """Write a large count: `950`, `12.3k`, `4.5M`."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(count) >= limit:
            return f"{count / (1e3 if suffix == 'k' else limit):.1f}{suffix}"
    return f"{count:.0f}"


def counted(count: int, what: str) -> str:
    """Write a number of things: `1 trial`, `2 trials`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Map each `a/b/c` name to the shortest tail of its path that no other name ends with."""
    paths = {name: name.split("/") for name in names}
    short: dict[str, str] = {}
    for name, path in paths.items():
        for length in range(1, len(path) + 1):
            tail = path[-length:]
            if all(other[-length:] != tail for key, other in paths.items() if key != name):
                break
        short[name] = "/".join(tail)
    return short


def short_hyperparameters(values: Mapping[str, object], limit: int = 60) -> str:
    """Write hyperparameters as `name=value, ...` with short names, cut at about `limit` characters."""
    names = short_names(values)
    parts = [f"{names[key]}={format_value(value)}" for key, value in values.items()]
    text = ""
    for part in parts:
        longer = f"{text}, {part}" if text else part
        if len(longer) > limit:
            return f"{text}, ..." if text else f"{part[: max(limit - 3, 0)]}..."
        text = longer
    return text


def worker_place(worker: WorkerView) -> str:
    """What a worker is at: `e2 train 3`."""
    if worker.phase == "call":
        return "call"
    return f"e{worker.epoch + 1} {worker.shard or worker.phase}"


def telling_reason(status: str, reason: str) -> str:
    """The reason, unless it only repeats the status."""
    return "" if reason.lower() == str(getattr(status, "value", status)).lower() else reason
