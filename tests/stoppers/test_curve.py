"""What a rule is told of a trial, and what is recorded of a rule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.stoppers import Curve
from cerebro_nas.stoppers import LearningCurveStopper
from cerebro_nas.stoppers import MedianStopper
from cerebro_nas.stoppers import PatienceStopper
from cerebro_nas.stoppers import Stopper
from cerebro_nas.stoppers import ThresholdStopper
from cerebro_nas.stoppers import make_stoppers

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "direction", "best"),
    [
        ((0.1, 0.5, 0.3), "max", 0.5),
        ((0.1, 0.5, 0.3), "min", 0.1),
        ((NAN, 0.5, float("inf")), "max", 0.5),
        ((NAN, float("-inf")), "min", None),
        ((), "max", None),
    ],
)
def test_best(values: tuple[float, ...], direction: str, best: float | None) -> None:
    assert Curve(values, direction=direction).best == best


def test_worse_is_strict_and_follows_the_direction() -> None:
    up, down = Curve((), direction="max"), Curve((), direction="min")
    assert up.is_worse(0.1, than=0.2) and not up.is_worse(0.2, than=0.1)
    assert down.is_worse(0.2, than=0.1) and not down.is_worse(0.1, than=0.2)
    assert not up.is_worse(0.1, than=0.1) and not down.is_worse(0.1, than=0.1)


@pytest.mark.parametrize("direction", ["up", "MAX", None])
def test_other_directions_are_refused(direction: Any) -> None:
    with pytest.raises(ConfigError, match="Received: direction="):
        Curve((), direction=direction)


@pytest.mark.parametrize(
    "stopper", [MedianStopper(), LearningCurveStopper(threshold=0.1), PatienceStopper(3), ThresholdStopper(0.2, 5)]
)
def test_settings_survive_the_record(stopper: Stopper) -> None:
    saved = json.loads(json.dumps(stopper.to_dict()))
    assert saved.pop("rule") == type(stopper).__name__
    assert type(stopper)(**saved) == stopper
    assert saved


def test_a_rule_of_the_users_own() -> None:
    class Never(Stopper):
        def should_stop(self, trial: Curve, others: Mapping[str, Curve]) -> str | None:
            return None

    rule = Never()
    assert rule.to_dict() == {"rule": "Never"}
    assert make_stoppers([rule, "median"]) == (rule, MedianStopper())


def test_rules_from_an_argument() -> None:
    assert make_stoppers(None) == ()
    assert make_stoppers("median") == (MedianStopper(),)
    assert make_stoppers("learning_curve") == (LearningCurveStopper(),)
    assert make_stoppers((PatienceStopper(2),)) == (PatienceStopper(2),)


@pytest.mark.parametrize("value", ["mean", 3, MedianStopper, ["median", 1]])
def test_what_is_no_rule_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="`early`.*Received: early="):
        make_stoppers(value, "early")
