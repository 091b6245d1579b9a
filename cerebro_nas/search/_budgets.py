"""What a search may use up, beside a number of trials."""

from __future__ import annotations

import datetime
import math
import numbers
import re
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.tracking import format_duration

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile("".join(rf"(?:(\d+(?:\.\d+)?)\s*{unit}\s*)?" for unit in _SECONDS), re.IGNORECASE | re.ASCII)


def parse_duration(value: Any, name: str = "time_budget") -> float:
    """Seconds that a duration stands for.

    Args:
        value: text of numbers with the units `d`, `h`, `m` and `s`, the larger ones first, such as `"4h"`, `"1h30m"`
            or `"1.5 h"`; seconds as a number; or a `datetime.timedelta`.
        name: the argument, for messages.

    Raises:
        ConfigError: it is no duration, or not longer than 0.
    """
    seconds = _seconds(value)
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        raise ConfigError(
            f"`{name}` must be a duration above 0: text such as '4h', '90m' or '1h30m', seconds as a number, "
            f"or a `datetime.timedelta`. Received: {name}={value!r}. Pass for example '4h'."
        )
    return seconds


def _seconds(value: Any) -> float | None:
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        return float(value)
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or not any(match.groups()):
        return None
    parts = zip(match.groups(), _SECONDS.values(), strict=True)
    return math.fsum(float(number) * unit for number, unit in parts if number is not None)


@dataclass(frozen=True)
class Budgets:
    """Limits after which a search ends; None for those that are not set. Make one with `Budgets.make`.

    Attributes:
        time_budget: seconds that the search may take.
        max_epochs_total: epochs that all trials together may train.
        target: value of the objective that is good enough.
    """

    time_budget: float | None = None
    max_epochs_total: int | None = None
    target: float | None = None

    @classmethod
    def make(cls, *, time_budget: Any = None, max_epochs_total: Any = None, target: Any = None) -> Budgets:
        """Check what a user passed.

        Args:
            time_budget: what `parse_duration` reads.
            max_epochs_total: a whole number of at least 1.
            target: a finite number.

        Raises:
            ConfigError: one of them cannot be used.
        """
        return cls(
            None if time_budget is None else parse_duration(time_budget),
            None if max_epochs_total is None else _count("max_epochs_total", max_epochs_total),
            None if target is None else _number("target", target),
        )

    def spent(self, elapsed_seconds: float, epochs: int, best: float | None, direction: str) -> str | None:
        """Why the search should end, in words; None while it may go on.

        Args:
            elapsed_seconds: how long it has taken, earlier sessions of a resumed one included.
            epochs: epochs that all trials together have trained.
            best: the best value of the objective so far; None if there is none.
            direction: `"max"` or `"min"`: whether a larger or a smaller objective is better.
        """
        if self.target is not None and best is not None:
            # Neither is true of NaN.
            if best >= self.target if direction == "max" else best <= self.target:
                return f"the target is reached: the best value, {best:.6g}, is at {self.target:.6g} or better"
        if self.time_budget is not None and elapsed_seconds >= self.time_budget:
            return f"the time budget of {format_duration(self.time_budget)} is used up"
        if self.max_epochs_total is not None and epochs >= self.max_epochs_total:
            return f"the budget of {self.max_epochs_total} epochs over all trials is used up"
        return None

    def to_dict(self) -> dict[str, Any]:
        """The limits as plain data, for the record of a search; `Budgets(**...)` reads them."""
        return asdict(self)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ConfigError(f"`{name}` must be a positive integer. Received: {name}={value!r}. Pass 1 or more, or None.")
    return int(value)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ConfigError(
            f"`{name}` must be a finite number, or None. Received: {name}={value!r}. Pass for example 0.9."
        )
    return float(value)
