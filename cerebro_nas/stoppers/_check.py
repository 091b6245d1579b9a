"""Checks of settings that the rules share."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

from cerebro_nas.errors import ConfigError


def check_count(name: str, value: Any) -> None:
    """Refuse what is no whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ConfigError(f"`{name}` must be a positive integer. Received: {name}={value!r}. Pass 1 or more.")


def check_choice(name: str, value: Any, known: Sequence[str]) -> None:
    """Refuse what is none of the known words."""
    if not isinstance(value, str) or value not in known:
        raise ConfigError(
            f"`{name}` must be one of {', '.join(map(repr, known))}. Received: {name}={value!r}. Choose one."
        )


def check_finite(name: str, value: Any) -> None:
    """Refuse what is no finite number."""
    if not _is_number(value):
        raise ConfigError(f"`{name}` must be a finite number. Received: {name}={value!r}. Pass for example 0.5.")


def check_not_negative(name: str, value: Any) -> None:
    """Refuse what is no finite number of 0 or more."""
    if not _is_number(value) or value < 0:
        raise ConfigError(f"`{name}` must be a number of 0 or more. Received: {name}={value!r}. Pass for example 0.")


def check_probability(name: str, value: Any) -> None:
    """Refuse what is no number strictly between 0 and 1."""
    if not _is_number(value) or not 0 < value < 1:
        raise ConfigError(
            f"`{name}` must be a probability between 0 and 1. Received: {name}={value!r}. Pass for example 0.05."
        )


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, numbers.Real) and math.isfinite(value)
