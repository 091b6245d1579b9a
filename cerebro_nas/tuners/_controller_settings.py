"""The settings of the controller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._checks import check_number
from cerebro_nas.tuners._checks import check_one_of
from cerebro_nas.tuners._controller_training import Method

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
            check_int(name, getattr(self, name), least=least)
        for name in _SHARES:
            check_number(name, getattr(self, name), 0, 1, above=True)
        for name in _POSITIVE_OR_NONE:
            check_number(name, getattr(self, name), 0, above=True, none=True)
        check_number("controller_ratio_limit", self.controller_ratio_limit, 1)
        check_one_of("controller_optimizer", self.controller_optimizer, get_args(Method))
