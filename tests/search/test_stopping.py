"""The stopping rule stops a candidate where `keras.callbacks.EarlyStopping` would have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.errors import ConfigError
from cerebro_nas.search import StoppingRule
from cerebro_nas.search import split_callbacks

# Few distinct values, so that ties and values exactly `min_delta` apart are drawn often.
VALUES = st.one_of(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), st.floats(-2.0, 2.0, width=16))


class _Model:
    """All that the callback asks of a model when it restores no weights."""

    stop_training = False


def _epochs_of_keras(callback: Any, values: Sequence[float]) -> int:
    """Number of epochs that Keras would train for."""
    callback.set_model(_Model())
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"loss": 1.0, callback.monitor: value})
        if callback.model.stop_training:
            return epoch + 1
    return len(values)


def _epochs_of_rule(rule: StoppingRule, values: Sequence[float]) -> int:
    history: list[dict[str, float]] = []
    for value in values:
        history.append({"loss": 1.0, rule.monitor: value})
        if rule.should_stop(history):
            break
    return len(history)


def _callback(**arguments: Any) -> Any:
    return keras.callbacks.EarlyStopping(**{"monitor": "val_accuracy", **arguments})


@settings(max_examples=150)
@given(
    values=st.lists(VALUES, min_size=1, max_size=12),
    mode=st.sampled_from(["min", "max"]),
    patience=st.integers(0, 4),
    min_delta=st.sampled_from([0.0, 0.1, 0.25, -0.25]),
    start=st.integers(0, 3),
)
def test_stops_where_keras_stops(values: list[float], mode: str, patience: int, min_delta: float, start: int) -> None:
    callback = _callback(mode=mode, patience=patience, min_delta=min_delta, start_from_epoch=start)
    (rule,), _ = split_callbacks([callback])
    assert _epochs_of_rule(rule, values) == _epochs_of_keras(callback, values)


@settings(max_examples=150)
@given(
    values=st.lists(VALUES, min_size=1, max_size=12),
    mode=st.sampled_from(["min", "max"]),
    patience=st.integers(0, 4),
    baseline=st.sampled_from([0.0, 0.25, 0.6]),
)
def test_a_baseline_stops_where_keras_stops(values: list[float], mode: str, patience: int, baseline: float) -> None:
    callback = _callback(mode=mode, patience=patience, baseline=baseline)
    (rule,), _ = split_callbacks([callback])
    assert _epochs_of_rule(rule, values) == _epochs_of_keras(callback, values)


def test_a_first_epoch_of_nan_is_judged_as_keras_judges_it() -> None:
    values = [float("nan"), 0.5, 0.4, 0.3]
    callback = _callback(monitor="val_loss", mode="min", patience=2)
    (rule,), _ = split_callbacks([callback])
    assert _epochs_of_rule(rule, values) == _epochs_of_keras(callback, values)


def test_epochs_without_the_metric_do_not_count() -> None:
    rule = StoppingRule(monitor="val_loss", patience=2)
    history: list[dict[str, float]] = [{"val_loss": 1.0}, {"val_loss": 2.0}, {"loss": 9.0}]
    assert not rule.should_stop(history)
    assert rule.should_stop([*history, {"val_loss": 1.0}])


@pytest.mark.parametrize(
    ("monitor", "mode", "direction"),
    [
        ("val_loss", "auto", "min"),
        ("val_accuracy", "auto", "max"),
        ("accuracy", "auto", "max"),
        ("val_loss", "max", "max"),
        ("val_anything", "min", "min"),
    ],
)
def test_the_direction_of_a_callback(monitor: str, mode: str, direction: str) -> None:
    (rule,), _ = split_callbacks([keras.callbacks.EarlyStopping(monitor=monitor, mode=mode)])
    assert (rule.monitor, rule.direction) == (monitor, direction)


def test_callbacks_are_split_by_kind() -> None:
    first, second = keras.callbacks.EarlyStopping(patience=3), keras.callbacks.EarlyStopping("val_accuracy", patience=5)
    rules, logdirs = split_callbacks([first, keras.callbacks.TensorBoard(log_dir="logs/here"), second])
    assert [(rule.monitor, rule.patience) for rule in rules] == [("val_loss", 3), ("val_accuracy", 5)]
    assert logdirs == ["logs/here"]
    assert split_callbacks(None) == split_callbacks([]) == ([], [])


def test_a_callback_that_cannot_follow_a_candidate_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"hop between workers.*Received: callbacks=.*Remove LambdaCallback"):
        split_callbacks([keras.callbacks.EarlyStopping(), keras.callbacks.LambdaCallback()])


class _Own(keras.callbacks.EarlyStopping):  # type: ignore[misc]
    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        raise RuntimeError("never called")


@pytest.mark.case(32)
def test_a_subclass_whose_methods_nobody_would_call_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"none of their subclasses.*Remove _Own"):
        split_callbacks([_Own()])


@pytest.mark.case(31, 32)
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"monitor": "val_profit"}, "needs `mode=.*'monitor': 'val_profit'"),
        ({"monitor": 3}, "'monitor': 3"),
        ({"patience": "ten"}, "'patience': 'ten'"),
        ({"patience": None}, "'patience': None"),
        ({"baseline": "x"}, "'baseline': 'x'"),
    ],
)
def test_settings_of_a_callback_that_make_no_sense(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match="Received: EarlyStopping with") as caught:
        split_callbacks([keras.callbacks.EarlyStopping(**wrong)])
    assert re.search(told, str(caught.value))
