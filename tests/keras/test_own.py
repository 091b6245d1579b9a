"""Code of the user's own in estimators: registered, importable, and tried before any work."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import keras
import pytest
import tensorflow as tf

from cerebro_nas.errors import BuildError
from cerebro_nas.errors import ConfigError
from cerebro_nas.keras import SparkEstimator
from cerebro_nas.keras._candidate import rehearse
from cerebro_nas.keras._own import check_transformation
from cerebro_nas.keras._own import row_specs
from cerebro_nas.keras._own import transformation_name
from cerebro_nas.keras._space import EstimatorSpace
from cerebro_nas.tune import hp_choice
from cerebro_nas.tune._hyperparameters import ParameterSpace
from cerebro_nas.worker import ColumnSpec

ROWS = (tf.TensorSpec((3,), "uint8"), tf.TensorSpec((1,), "float32"))


@pytest.fixture
def register() -> Iterator[Callable[[Any], Any]]:
    """Registers something with Keras for the length of a test."""
    before = set(keras.saving.get_custom_objects())
    yield keras.saving.register_keras_serializable("tests")
    for name in set(keras.saving.get_custom_objects()) - before:
        del keras.saving.get_custom_objects()[name]


def test_nothing_is_nothing() -> None:
    assert transformation_name(None) == ""
    check_transformation("", ROWS)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.map(lambda x, y: (tf.cast(x, tf.float32) / 255, -y)),
        lambda rows: rows.shuffle(8).map(lambda x, y: (tf.reverse(x, [0]), y)).prefetch(1),
    ],
)
def test_rows_may_be_mapped_and_change_their_type(register: Callable[[Any], Any], change: Any) -> None:
    change.__name__ = "change"
    name = transformation_name(register(change))
    assert name == "tests>change"
    check_transformation(name, ROWS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.filter(lambda x, y: y[0] > 0), "which gives another number of rows for 3"),
        (lambda rows: rows.repeat(2), "which gives 6 rows for 3"),
        (lambda rows: rows.repeat(), "which gives another number of rows for 3"),
        (lambda rows: rows.map(lambda x, y: x), r"which gives rows TensorSpec\(shape=\(3,\)"),
        (lambda rows: rows.map(lambda x, y: (x[:2], y)), r"which gives rows \(TensorSpec\(shape=\(2,\)"),
        (lambda rows: rows.batch(2), r"which gives rows \(TensorSpec\(shape=\(None, 3\)"),
        (lambda rows: None, "which gives None"),
        (lambda rows: rows.map(lambda row: row), "which failed with TypeError"),
        (lambda rows: rows.map(lambda x, y: (x.missing, y)), "which failed with AttributeError"),
    ],
)
def test_what_is_no_map_is_refused(register: Callable[[Any], Any], change: Any, message: str) -> None:
    change.__name__ = "change"
    name = transformation_name(register(change))
    with pytest.raises(ConfigError, match=rf"`transformation_fn` must (?s:.*)Received: 'tests>change', {message}"):
        check_transformation(name, ROWS)


def test_rows_are_nested_as_keras_nests_them() -> None:
    plain = ColumnSpec("a", (), "int32", "scalar")
    tensor = ColumnSpec("b", (2, 2), "uint8", "list")
    one, byte, vector = tf.TensorSpec((1,)), tf.TensorSpec((2, 2), "uint8"), tf.TensorSpec((2,))
    assert row_specs([(plain,)], [1], weighted=False) == (one, one)
    assert row_specs([(tensor,), (plain, plain)], [1, 2], weighted=True) == (
        (byte, vector),
        (one, vector),
        (tf.TensorSpec(()), tf.TensorSpec(())),
    )


def test_registered_layers_losses_and_metrics_are_parts_of_a_model(
    register: Callable[[Any], Any], estimator: Callable[..., SparkEstimator]
) -> None:
    @register
    class Twice(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
        def call(self, inputs: Any) -> Any:
            return 2 * inputs

    @register
    def error(truth: Any, given: Any) -> Any:
        return keras.ops.mean(keras.ops.square(truth - given), axis=-1)

    model = keras.Sequential([keras.Input((3,)), Twice(), keras.layers.Dense(1)])
    own = {"Twice": Twice, "error": error}
    found = estimator(model=model, custom_objects=own, loss=error, metrics=[error])
    space = EstimatorSpace(lambda params: found, ParameterSpace({"units": hp_choice([1])}))
    assert "Twice" in space.first.spec.model
    assert space.metric_names == ("loss", "error")


def test_what_keras_has_itself_needs_no_registration(estimator: Callable[..., SparkEstimator]) -> None:
    estimator(custom_objects={"Dense": keras.layers.Dense, "mse": keras.losses.mean_squared_error})


def test_what_the_script_itself_defines_is_refused_before_any_work(
    register: Callable[[Any], Any], estimator: Callable[..., SparkEstimator]
) -> None:
    def change(rows: Any) -> Any:
        return rows

    change.__module__ = "__main__"
    found = estimator(transformation_fn=register(change))
    with pytest.raises(ConfigError, match="a module that workers can import. Received: tests>change"):
        rehearse(lambda params: found, {})


def test_a_transformation_may_be_searched_and_each_is_tried(
    register: Callable[[Any], Any], estimator: Callable[..., SparkEstimator], prepared: Any
) -> None:
    @register
    def same(rows: Any) -> Any:
        return rows

    @register
    def none(rows: Any) -> Any:
        return rows.take(0)

    functions = {"same": same, "none": none}

    def make(params: dict[str, Any]) -> SparkEstimator:
        return estimator(transformation_fn=functions[params["change"]])

    space = EstimatorSpace(make, ParameterSpace({"change": hp_choice(["same", "none"])}))
    space.configure(
        prepared({"x": (8,)}, {"y": (0, 1, 2)}), feature_columns_per_input=(("x",),), batch_size=0, epochs=1
    )
    hp = space.explore()
    assert space.build(hp, trial="t").transformation == "tests>same"
    hp.values["change"] = "none"
    with pytest.raises(BuildError, match="With {'change': 'none'}: `transformation_fn` must.*gives 0 rows for 3"):
        space.build(hp, trial="t")
