"""Arguments, refused with one kind of message where they are wrong."""

from __future__ import annotations

import math
from typing import Any

from cerebro_nas.errors import ConfigError


def is_int(value: Any) -> bool:
    """Whether it is an integer; for Python, True is one."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a finite number; for Python, True is one."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_bool(argument: str, value: Any) -> None:
    """Refuse what is neither True nor False.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, bool):
        raise ConfigError(
            f"Argument `{argument}` should be True or False. "
            f"Received: {argument}={value!r} (of type {type(value).__name__}). Pass a Boolean."
        )


def check_int(argument: str, value: Any, *, least: int) -> None:
    """Refuse what is no integer of at least `least`.

    Raises:
        ConfigError: it is not.
    """
    if not is_int(value) or value < least:
        raise _error(argument, value, f"an integer of at least {least}")


def check_number(
    argument: str,
    value: Any,
    low: float,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
    none: bool = False,
) -> None:
    """Refuse what is no finite number from `low` to `high`.

    Args:
        argument: its name.
        value: what was given.
        low: smallest number allowed.
        high: largest number allowed; infinity: any that is finite.
        above: whether it has to be above `low`.
        below: whether it has to be below `high`.
        none: whether it may be None, which switches off what it is for.

    Raises:
        ConfigError: it is not.
    """
    if none and value is None:
        return
    if not is_number(value) or not low <= value <= high or (above and value == low) or (below and value == high):
        least = f"{'above' if above else 'of at least'} {low:g}"
        most = "" if math.isinf(high) else f" and {'below' if below else 'at most'} {high:g}"
        raise _error(argument, value, f"a finite number {least}{most}" + (", or None (off)" if none else ""))


def check_one_of(argument: str, value: Any, known: tuple[str | None, ...]) -> None:
    """Refuse what is none of these words; None may be among them.

    Raises:
        ConfigError: it is not.
    """
    if value not in known:
        raise ConfigError(
            f"Argument `{argument}` should be one of {', '.join(map(repr, known))}. "
            f"Received: {argument}={value!r}. Pass one of them."
        )


def _error(argument: str, value: Any, expectation: str) -> ConfigError:
    return ConfigError(
        f"Argument `{argument}` should be {expectation}. "
        f"Received: {argument}={value!r} (of type {type(value).__name__}). Pass such a number."
    )
