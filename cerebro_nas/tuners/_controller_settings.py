"""The settings of the controller, and what they are where they are not given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Literal
from typing import get_args

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._checks import check_number
from cerebro_nas.tuners._checks import check_one_of
from cerebro_nas.tuners._controller_training import Method

Default = Literal["default"]
"""In place of a setting that is not given: None means that it is off."""
Defaults = Literal["ours", "katib"]
"""Whose defaults are taken."""

_COUNTS = {"controller_hidden_size": 1, "controller_train_steps": 1, "controller_window": 2, "bins": 2}
_SHARES = ("controller_baseline_decay", "controller_learning_rate", "controller_skip_target")
_POSITIVE_OR_NONE = (
    "controller_temperature",
    "controller_tanh_const",
    "controller_entropy_weight",
    "controller_skip_weight",
)
_OURS: dict[str, Any] = {
    "controller_hidden_size": 32,
    "controller_temperature": None,
    "controller_tanh_const": None,
    "controller_entropy_weight": 0.01,
    "controller_baseline_decay": 0.9,
    "controller_learning_rate": 1.0,
    "controller_skip_target": 0.4,
    "controller_skip_weight": None,
    "controller_train_steps": 1,
    "controller_window": 16,
    "controller_ratio_limit": 2.0,
    "controller_optimizer": "sgd",
    "bins": 10,
}
# Of `enas` in Katib's v1beta1; what it does not have is as in ours.
_KATIB: dict[str, Any] = {
    **_OURS,
    "controller_hidden_size": 64,
    "controller_temperature": 5.0,
    "controller_tanh_const": 2.25,
    "controller_entropy_weight": 1e-5,
    "controller_baseline_decay": 0.999,
    "controller_learning_rate": 5e-5,
    "controller_skip_target": 0.4,
    "controller_skip_weight": 0.8,
    "controller_train_steps": 50,
    "controller_optimizer": "adam",
}


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


def make_settings(defaults: Defaults, given: Mapping[str, Any]) -> Settings:
    """The settings.

    Args:
        defaults: whose defaults those take that are not given.
        given: all of them by name, `"default"` where they are not given, None or `"None"` (as Katib writes it) where
            they are switched off.

    Raises:
        ConfigError: one of them is wrong, or would have no effect.
    """
    check_one_of("controller_defaults", defaults, get_args(Defaults))
    own = {name: value for name, value in given.items() if value != "default"}
    off = {name: None for name in _POSITIVE_OR_NONE if own.get(name) == "None"}
    settings = Settings(**{**(_KATIB if defaults == "katib" else _OURS), **own, **off})
    if "controller_skip_target" in own and settings.controller_skip_weight is None:
        raise ConfigError(
            "Argument `controller_skip_target` should be given with a `controller_skip_weight`, without which it has "
            f"no effect. Received: controller_skip_target={settings.controller_skip_target}, "
            "controller_skip_weight=None. Pass the weight, for example 0.8, or leave the target out."
        )
    return settings
