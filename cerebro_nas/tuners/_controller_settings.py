"""The settings of the controller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._controller_training import Method

_METHODS = ("sgd", "momentum", "adam")
_COUNTS = {"controller_hidden_size": 1, "controller_train_steps": 1, "controller_window": 2, "bins": 2}
_SHARES = ("controller_baseline_decay", "controller_learning_rate", "controller_skip_target")
_POSITIVE_OR_NONE = (
    "controller_temperature",
    "controller_tanh_const",
    "controller_entropy_weight",
    "controller_skip_weight",
)


@dataclass(frozen=True)
class Settings:
    """See `ReinforceOracle`."""

    controller_hidden_size: int
    controller_temperature: float | None
    controller_tanh_const: float | None
    controller_entropy_weight: float | None
    controller_baseline_decay: float
    controller_learning_rate: float
    controller_skip_target: float
    controller_skip_weight: float | None
    controller_train_steps: int
    controller_window: int
    controller_ratio_limit: float
    controller_optimizer: Method
    bins: int

    def __post_init__(self) -> None:
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise _error(name, f"an integer of at least {least}", value)
        for name in _SHARES:
            value = getattr(self, name)
            if not _is_number(value) or not 0 < value <= 1:
                raise _error(name, "a number above 0 and at most 1", value)
        for name in _POSITIVE_OR_NONE:
            value = getattr(self, name)
            if value is not None and (not _is_number(value) or not 0 < value < float("inf")):
                raise _error(name, "a finite number above 0, or None (off)", value)
        if not _is_number(self.controller_ratio_limit) or not self.controller_ratio_limit >= 1:
            raise _error("controller_ratio_limit", "a number of at least 1", self.controller_ratio_limit)
        if self.controller_optimizer not in _METHODS:
            raise _error("controller_optimizer", f"one of {', '.join(map(repr, _METHODS))}", self.controller_optimizer)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _error(name: str, expectation: str, value: Any) -> ConfigError:
    return ConfigError(
        f"Argument `{name}` should be {expectation}. Received: {name}={value!r}. Pass such a value, or leave it out."
    )
