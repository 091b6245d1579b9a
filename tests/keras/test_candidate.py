"""What the user's function returns is read into plain values, and what workers could not build is refused first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from cerebro_nas.errors import BuildError
from cerebro_nas.errors import ConfigError
from cerebro_nas.keras import SparkEstimator
from cerebro_nas.keras._candidate import read_candidate
from cerebro_nas.keras._candidate import rehearse
from cerebro_nas.worker import build_model

Make = Callable[..., SparkEstimator]


def _read(found: SparkEstimator) -> Any:
    return read_candidate(lambda params: found, {})


def _layers(*layers: Any, shape: tuple[int, ...] = (8,), **given: Any) -> SparkEstimator:
    model = keras.Sequential([keras.Input(shape), *layers])
    return SparkEstimator(model, **{"optimizer": "adam", "loss": "mse", **given})


def test_what_is_read(estimator: Make) -> None:
    def make(params: dict[str, Any]) -> SparkEstimator:
        return estimator((4, 2), params["width"], metrics=["accuracy"], batch_size=8)

    found = read_candidate(make, {"width": 5})
    assert [(item.name, item.shape) for item in found.inputs] == [("input_layer", (4, 2))]
    assert [(item.name, item.width, item.family) for item in found.outputs] == [("dense_1", 5, "categorical")]
    spec = found.spec
    assert (spec.batch_size, spec.parameters, spec.metrics) == (8, (8 * 4 + 4) + (4 * 5 + 5), (("accuracy",),))
    assert spec.optimizer["class_name"] == "Adam"
    assert spec.loss == ("categorical_crossentropy",)
    assert spec.flops > 2 * 8 * 4


def test_equal_architectures_have_equal_text_whatever_was_made_before(estimator: Make) -> None:
    first = read_candidate(lambda params: estimator(), {}).spec
    for _ in range(3):
        estimator()
    assert read_candidate(lambda params: estimator(), {}).spec == first
    assert read_candidate(lambda params: estimator(width=4), {}).spec.model != first.model


def test_a_worker_can_build_it_and_the_seed_makes_its_weights(estimator: Make) -> None:
    spec = _read(estimator()).spec
    one, same = build_model(spec), build_model(spec)
    assert all(np.array_equal(a, b) for a, b in zip(one.get_weights(), same.get_weights(), strict=True))


def test_a_rehearsal_says_what_will_be_reported(estimator: Make) -> None:
    metrics = ["acc", keras.metrics.AUC(name="area"), "sparse_categorical_accuracy"]
    _, names = rehearse(lambda params: estimator(metrics=metrics), {})
    assert set(names) == {"loss", "acc", "area", "sparse_categorical_accuracy"}


def test_several_outputs_report_under_their_names() -> None:
    inputs = keras.Input((4,))
    outputs = [keras.layers.Dense(1, name="price")(inputs), keras.layers.Dense(3, name="kind")(inputs)]
    model = keras.Model(inputs, outputs)
    loss = {"kind": keras.losses.CategoricalCrossentropy(from_logits=True), "price": "mse"}
    found = SparkEstimator(model, optimizer="adam", loss=loss, metrics={"kind": ["accuracy"]})
    candidate, names = rehearse(lambda params: found, {})
    assert [(out.name, out.width, out.family) for out in candidate.outputs] == [
        ("price", 1, "values"),
        ("kind", 3, "categorical"),
    ]
    assert {"loss", "kind_accuracy"} <= set(names)


@pytest.mark.parametrize("loss_weights", [{"kind": 0.25}, [1, 0.25]])
def test_losses_are_weighed_as_keras_weighs_them(loss_weights: Any) -> None:
    inputs = keras.Input((4,))
    outputs = [keras.layers.Dense(width, name=name)(inputs) for width, name in ((1, "price"), (3, "kind"))]
    model = keras.Model(inputs, outputs)
    estimator = SparkEstimator(model, optimizer="adam", loss="mse", loss_weights=loss_weights)
    built = build_model(rehearse(lambda params: estimator, {})[0].spec)
    rows, targets = np.ones((2, 4), "float32"), [np.ones((2, width), "float32") for width in (1, 3)]

    found = built.evaluate(rows, targets, verbose=0, return_dict=True)

    price, kind = (np.mean((target - part) ** 2) for target, part in zip(targets, built.predict(rows), strict=True))
    assert found["loss"] == pytest.approx(price + 0.25 * kind, rel=1e-5)


def test_weights_of_losses_come_with_the_compiled_model() -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [keras.layers.Dense(1, name=name)(inputs) for name in "ab"])
    model.compile("sgd", "mse", loss_weights=[1.0, 0.5])

    assert rehearse(lambda params: SparkEstimator(model), {})[0].spec.loss_weights == (1.0, 0.5)


def test_keras_by_way_of_tensorflow_is_the_same_keras() -> None:
    kit = pytest.importorskip("tensorflow").keras
    model = kit.Sequential([kit.layers.Input((4,)), kit.layers.Dense(1, activation="sigmoid")])
    metrics = ["acc", kit.metrics.AUC(name="area")]
    found = SparkEstimator(model, optimizer=kit.optimizers.Adam(0.01), loss="binary_crossentropy", metrics=metrics)
    assert set(rehearse(lambda params: found, {})[1]) == {"loss", "acc", "area"}


def test_callbacks_are_rules(estimator: Make) -> None:
    found = _read(estimator(callbacks=[keras.callbacks.EarlyStopping(monitor="val_loss", patience=4)]))
    assert [(rule.monitor, rule.patience) for rule in found.rules] == [("val_loss", 4)]
    with pytest.raises(ConfigError, match="Remove ReduceLROnPlateau"):
        _read(estimator(callbacks=[keras.callbacks.ReduceLROnPlateau()]))


# --- preprocessing ----------------------------------------------------------------------------------------------------


def test_what_the_user_adapted_goes_along() -> None:
    layer = keras.layers.Normalization()
    layer.adapt(np.array([[1.0, 10.0], [3.0, 30.0]]))
    found = _layers(layer, keras.layers.Dense(1), shape=(2,))
    candidate, _ = rehearse(lambda params: found, {})
    assert candidate.spec.adapted[layer.name]["mean"] == pytest.approx([2.0, 20.0])
    built = build_model(candidate.spec)
    rows = np.array([[1.0, 30.0]])
    assert np.allclose(built.get_layer(layer.name)(rows), layer(rows))


def test_statistics_in_the_configuration_stay_there() -> None:
    found = _layers(keras.layers.Normalization(mean=[1.0] * 8, variance=[4.0] * 8), keras.layers.Dense(1))
    candidate, _ = rehearse(lambda params: found, {})
    assert candidate.spec.adapted == {}


def test_statistics_over_several_axes_are_refused() -> None:
    layer = keras.layers.Normalization(axis=(1, 2))
    layer.adapt(np.arange(12.0).reshape(2, 3, 2))
    with pytest.raises(ConfigError, match=r"over one axis, or with `mean` and `variance` given"):
        _read(_layers(layer, keras.layers.Flatten(), keras.layers.Dense(1), shape=(3, 2)))


def test_a_table_that_adapt_made_is_refused_and_one_that_was_given_is_not() -> None:
    layer = keras.layers.IntegerLookup()
    layer.adapt([3, 4, 5])
    rest = [keras.layers.Rescaling(0.1), keras.layers.Dense(1)]
    with pytest.raises(ConfigError, match=r"of type IntegerLookup with `vocabulary` given"):
        _read(_layers(layer, *rest, shape=(1,)))
    assert _read(_layers(keras.layers.IntegerLookup(vocabulary=[3, 4, 5]), *rest, shape=(1,))).spec


# --- refusals ---------------------------------------------------------------------------------------------------------


class Own(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    def call(self, inputs: Any) -> Any:
        return inputs


class Subclassed(keras.Model):  # type: ignore[misc]  # Keras ships no types
    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)


def _own_loss(truth: Any, given: Any) -> Any:
    return keras.ops.mean(truth - given)


def _named(pack: Callable[[Any, Any], Any]) -> keras.Model:
    first, second = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    return keras.Model(pack(first, second), keras.layers.Dense(1)(keras.layers.Add()([first, second])))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SparkEstimator(Subclassed(), optimizer="adam", loss="mse"), r"`model` must be a functional model"),
        (
            lambda: SparkEstimator(keras.Sequential([keras.layers.Dense(1)]), optimizer="adam", loss="mse"),
            r"one that begins with `keras.Input\(shape=...\)`",
        ),
        (lambda: _layers(Own(), keras.layers.Dense(1)), r"made of what Keras has.*class_name='Own'"),
        (lambda: _layers(keras.layers.Lambda(lambda x: x), keras.layers.Dense(1)), r"class_name='Lambda'"),
        (lambda: _layers(keras.layers.Dense(1), loss=_own_loss), r"`loss` must be registered with Keras.*_own_loss"),
        (lambda: _layers(keras.layers.Dense(1), metrics=[_own_loss]), r"`metrics` must be registered.*_own_loss"),
        (lambda: _layers(keras.layers.Conv1D(2, 3), shape=(8, 1)), r"outputs of one vector a row.*\(6, 2\)"),
        (
            lambda: SparkEstimator(_named(lambda a, b: {"a": a, "b": b}), optimizer="adam", loss="mse"),
            r"single tensors or flat lists.*Received: a dict",
        ),
    ],
)
def test_what_is_refused(make: Callable[[], SparkEstimator], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rehearse(lambda params: make(), {})


def test_flat_lists_of_inputs_are_fine() -> None:
    model = _named(lambda a, b: [a, b])
    candidate, _ = rehearse(lambda params: SparkEstimator(model, optimizer="adam", loss="mse"), {})
    assert [item.shape for item in candidate.inputs] == [(2,), (2,)]


@pytest.mark.parametrize("layer", [keras.layers.Dense(3, name="one"), keras.layers.BatchNormalization(name="one")])
def test_trained_weights_are_not_dropped_in_silence(layer: keras.layers.Layer) -> None:
    found = _layers(layer, keras.layers.Dense(1))
    found.model.compile("adam", "mse")
    found.model.fit(np.ones((4, 8)), np.ones((4, 1)), verbose=0)
    with pytest.raises(ConfigError, match=r"`model` must have initial weights.*the model was trained, loaded or set"):
        rehearse(lambda params: found, {})


def test_weights_that_an_initialiser_gives_are_initial() -> None:
    layers = [keras.layers.LSTM(2), keras.layers.BatchNormalization()]
    last = keras.layers.Dense(1, bias_initializer=keras.initializers.Constant(3.0))
    assert rehearse(lambda params: _layers(*layers, last, shape=(4, 2)), {})


def test_a_function_that_fails_is_no_error_of_the_configuration() -> None:
    def make(params: dict[str, Any]) -> SparkEstimator:
        raise KeyError("lr")

    with pytest.raises(BuildError, match=r"`estimator_gen_fn` failed with \{'a': 1\}: KeyError: 'lr'"):
        read_candidate(make, {"a": 1})


@pytest.mark.parametrize("found", [None, keras.Sequential([])])
def test_a_function_that_returns_something_else(found: Any) -> None:
    with pytest.raises(ConfigError, match=r"`estimator_gen_fn` must return a `cerebro_nas.keras.SparkEstimator`"):
        read_candidate(lambda params: found, {})
