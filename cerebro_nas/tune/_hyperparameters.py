"""What may be searched: choices and ranges of numbers, with Cerebro's names."""

from __future__ import annotations

import math
import numbers
from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import ConfigError

if TYPE_CHECKING:
    import keras_tuner

# Multiples of a step are counted in floats: 0.3 is not quite three times 0.1.
_ROUNDING = 1e-9
_DIGITS = 12
_LARGEST_EXPONENT = 300
_PRIMITIVES = (bool, int, float, str)


class Hyperparameter(ABC):
    """One entry of a search space: what `hp_choice` and its like give."""

    def name(self, given: str) -> str:
        """What the hyperparameter is called in leaderboards, from its name in the search space."""
        return given

    @abstractmethod
    def register(self, space: keras_tuner.HyperParameters, name: str) -> None:
        """Add it to a space under `name`."""

    @abstractmethod
    def value(self, raw: Any) -> Any:
        """What the user's function is given for a value of the space."""


@dataclass(frozen=True, repr=False)
class Choice(Hyperparameter):
    """One of several values.

    Attributes:
        options: the values.
        shown: what stands for them in the space, where they are of several types or none that it can hold.
    """

    options: tuple[Any, ...]
    shown: tuple[Any, ...]

    def register(self, space: keras_tuner.HyperParameters, name: str) -> None:
        space.Choice(name, list(self.shown))

    def value(self, raw: Any) -> Any:
        return self.options[self.shown.index(raw)]

    def __repr__(self) -> str:
        return f"hp_choice({list(self.options)!r})"


@dataclass(frozen=True, repr=False)
class Range(Hyperparameter):
    """A number between two others.

    Attributes:
        function: what made it, for displays; `arguments` what that was given.
        low: smallest value; `high`: largest.
        step: of which values are multiples, None: any.
        log: whether small values are as likely as large ones, by their logarithm.
        whole: whether values are integers.
    """

    function: str
    arguments: tuple[float, ...]
    low: float
    high: float
    step: float | None
    log: bool
    whole: bool

    def name(self, given: str) -> str:
        # On a logarithmic scale the space knows whole numbers, but no steps: it then holds the multiple.
        return f"{given} (x {self.step:g})" if self._counts and self.step != 1 else given

    def register(self, space: keras_tuner.HyperParameters, name: str) -> None:
        if self._counts:
            space.Int(name, round(self.low / self._unit), round(self.high / self._unit), sampling="log")
        elif self.step is None:
            space.Float(name, self.low, self.high, sampling="log" if self.log else "linear")
        elif self.whole:
            space.Int(name, int(self.low), int(self.high), step=int(self.step))
        else:
            # KerasTuner counts the steps by rounding down, and would lose the last one of 0.05 to 0.45.
            space.Float(name, self.low, self.high + self.step / 2, step=self.step)

    def value(self, raw: Any) -> Any:
        if self.step is None:
            return float(raw)
        multiple = int(raw) if self._counts else round(raw / self.step)
        return multiple * int(self.step) if self.whole else float(f"{multiple * self.step:.{_DIGITS}g}")

    @property
    def _counts(self) -> bool:
        return self.log and self.step is not None

    @property
    def _unit(self) -> float:
        return 1.0 if self.step is None else self.step

    def __repr__(self) -> str:
        return f"{self.function}({', '.join(map(repr, self.arguments))})"


def hp_choice(options: Sequence[Any]) -> Hyperparameter:
    """One of several values.

    Args:
        options: numbers, strings, booleans, None, or lists, tuples and dicts of those.

    Raises:
        ConfigError: there is none, or one is of another kind.
    """
    if not isinstance(options, (list, tuple, range)) or not len(options):
        raise ConfigError(
            f"`options` of `hp_choice` must be a list of at least one value. Received: options={options!r}. "
            "Pass for example `hp_choice([0.001, 0.01])`."
        )
    values = [_plain(option) for option in options]
    distinct = [value for number, value in enumerate(values) if repr(value) not in map(repr, values[:number])]
    kinds = {type(value) for value in distinct}
    shown: list[Any] = distinct
    if kinds == {int, float} and len({float(value) for value in distinct}) == len(distinct):
        shown = [float(value) for value in distinct]
    elif len(kinds) > 1 or not kinds <= set(_PRIMITIVES):
        shown = [repr(value) for value in distinct]
    return Choice(tuple(distinct), tuple(shown))


def hp_uniform(min: float, max: float) -> Hyperparameter:  # noqa: A002 - Cerebro's names
    """A number between `min` and `max`, all alike likely.

    Raises:
        ConfigError: they are no such range.
    """
    low, high = _ends("hp_uniform", min, max)
    return Range("hp_uniform", (min, max), float(low), float(high), None, log=False, whole=False)


def hp_quniform(min: float, max: float, q: float) -> Hyperparameter:  # noqa: A002
    """A multiple of `q` between `min` and `max`, all alike likely; an integer where all three are.

    Raises:
        ConfigError: they are no such range, or there is no multiple in it.
    """
    low, high = _ends("hp_quniform", min, max)
    return _quantised("hp_quniform", (min, max, q), low, high, q, log=False)


def hp_loguniform(min: float, max: float) -> Hyperparameter:  # noqa: A002
    """A number between 10 to the power of `min` and 10 to the power of `max`, all exponents alike likely.

    Args:
        min: smallest exponent: -4 for 0.0001.
        max: largest exponent.

    Raises:
        ConfigError: they are no such range.
    """
    low, high = _powers("hp_loguniform", min, max)
    return Range("hp_loguniform", (min, max), low, high, None, log=True, whole=False)


def hp_qloguniform(min: float, max: float, q: float) -> Hyperparameter:  # noqa: A002
    """A multiple of `q` between 10 to the power of `min` and 10 to the power of `max`, likely by its logarithm.

    Leaderboards show how many times `q` it is. It is an integer where `q` is.

    Args:
        min: smallest exponent: 1 for 10.
        max: largest exponent.
        q: of which the values are multiples.

    Raises:
        ConfigError: they are no such range, or there is no multiple in it.
    """
    low, high = _powers("hp_qloguniform", min, max)
    return _quantised("hp_qloguniform", (min, max, q), low, high, q, log=True)


class ParameterSpace:
    """A search space as the user wrote it.

    Args:
        entries: what `hp_choice` and its like gave, by name.

    Raises:
        ConfigError: it is empty, or holds something else.
    """

    def __init__(self, entries: Any) -> None:
        if not isinstance(entries, Mapping) or not entries:
            raise ConfigError(
                "`search_space` must be a dict from names to what `hp_choice` and its like give, at least one. "
                f"Received: search_space={entries!r} (of type {type(entries).__name__}). "
                "Pass for example {'lr': hp_choice([0.001, 0.01])}."
            )
        for name, entry in entries.items():
            if not isinstance(name, str) or not name:
                raise ConfigError(
                    f"`search_space` must have names as keys. Received: {name!r}. Use strings, which `params` then has."
                )
            if not isinstance(entry, Hyperparameter):
                hint = f"hp_choice({list(entry)!r})" if isinstance(entry, (list, tuple)) else f"hp_choice([{entry!r}])"
                raise ConfigError(
                    "`search_space` must hold what `hp_choice`, `hp_uniform`, `hp_quniform`, `hp_loguniform` and "
                    f"`hp_qloguniform` give. Received: {name}={entry!r} (of type {type(entry).__name__}). "
                    f"Pass `{hint}`."
                )
        self.entries: dict[str, Hyperparameter] = dict(entries)

    @property
    def count(self) -> int | None:
        """How many combinations there are; None where a range is among them."""
        choices = [entry for entry in self.entries.values() if isinstance(entry, Choice)]
        return math.prod(len(entry.shown) for entry in choices) if len(choices) == len(self.entries) else None

    def space(self) -> keras_tuner.HyperParameters:
        """As hyperparameters of KerasTuner's, each independent of the others."""
        import keras_tuner

        found = keras_tuner.HyperParameters()
        for name, entry in self.entries.items():
            entry.register(found, entry.name(name))
        return found

    def params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the user's function is given for these values of the hyperparameters."""
        return {name: entry.value(values[entry.name(name)]) for name, entry in self.entries.items()}

    def describe(self) -> dict[str, Any]:
        """Plain values, equal for equal spaces."""
        return {name: repr(entry) for name, entry in self.entries.items()}


def _plain(value: Any) -> Any:
    """The value, which must be of a kind that a journal holds; NumPy's numbers become Python's."""
    if hasattr(value, "item") and hasattr(value, "dtype") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, (list, tuple)):
        return type(value)([_plain(item) for item in value]) if type(value) in (list, tuple) else _refuse(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return _refuse(value)
    return value if value is None or type(value) in _PRIMITIVES else _refuse(value)


def _refuse(value: Any) -> Any:
    raise ConfigError(
        "`options` of `hp_choice` must be numbers, strings, booleans, None, or lists, tuples and dicts of those. "
        f"Received: {value!r} (of type {type(value).__name__}). Choose among names, and look the object up in "
        "`estimator_gen_fn`."
    )


def _ends(function: str, low: Any, high: Any) -> tuple[float, float]:
    # Written so that NaN is refused.
    if not _is_number(low) or not _is_number(high) or not low < high:
        raise ConfigError(
            f"`min` and `max` of `{function}` must be finite numbers, the first below the second. "
            f"Received: min={low!r}, max={high!r}. For a single value use `hp_choice([value])`."
        )
    return low, high


def _powers(function: str, low: Any, high: Any) -> tuple[float, float]:
    low, high = _ends(function, low, high)
    if max(abs(low), abs(high)) > _LARGEST_EXPONENT:
        raise ConfigError(
            f"`min` and `max` of `{function}` must be exponents of 10: -4 stands for 0.0001. "
            f"Received: min={low!r}, max={high!r}. Pass exponents."
        )
    return 10.0**low, 10.0**high


def _quantised(
    function: str, arguments: tuple[Any, ...], low: float, high: float, step: Any, *, log: bool
) -> Hyperparameter:
    if not _is_number(step) or not step > 0:
        raise ConfigError(f"`q` of `{function}` must be a number above 0. Received: q={step!r}. Pass one.")
    first = max(math.ceil(low / step - _ROUNDING), 1 if log else -math.inf)
    last = math.floor(high / step + _ROUNDING)
    if first > last:
        raise ConfigError(
            f"`{function}` must have a multiple of `q` between its ends, {low:g} and {high:g}. Received: q={step!r}. "
            "Pass a smaller one."
        )
    whole = isinstance(step, numbers.Integral) and (log or _are_whole(low, high))
    if first == last:
        only = int(first) * int(step) if whole else float(f"{first * step:.{_DIGITS}g}")
        return Choice((only,), (only,))
    return Range(function, arguments, first * step, last * step, step, log=log, whole=whole)


def _are_whole(*values: Any) -> bool:
    return all(isinstance(value, numbers.Integral) for value in values)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, numbers.Real) and math.isfinite(value)
