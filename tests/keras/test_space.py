"""A search space of the user's own candidates: columns, candidates, identity, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from cerebro_nas.data import PreparedData
from cerebro_nas.errors import BuildError
from cerebro_nas.errors import ConfigError
from cerebro_nas.keras import SparkEstimator
from cerebro_nas.keras._space import EstimatorSpace
from cerebro_nas.search_space import NamedColumns
from cerebro_nas.search_space import named_columns
from cerebro_nas.tune import hp_choice
from cerebro_nas.tune import hp_uniform
from cerebro_nas.tune._hyperparameters import ParameterSpace
from cerebro_nas.worker import build_model

Make = Callable[..., SparkEstimator]
Prepare = Callable[..., PreparedData]
GenFn = Callable[[dict[str, Any]], Any]


def _space(make: GenFn, **entries: Any) -> EstimatorSpace:
    return EstimatorSpace(make, ParameterSpace(entries or {"width": hp_choice([3, 4])}), seed=3)


def _configured(space: EstimatorSpace, data: PreparedData, groups: Any = (("x",),)) -> EstimatorSpace:
    space.configure(data, feature_columns_per_input=groups, batch_size=32, epochs=2)
    return space


def _hp(space: EstimatorSpace, **values: Any) -> Any:
    hp = space.explore()
    hp.values.update(values)
    return hp


def _two(params: dict[str, Any]) -> SparkEstimator:
    left, right = keras.Input((4,), name="left"), keras.Input((1,), name="right")
    both = keras.layers.Concatenate()([left, right])
    heads = [keras.layers.Dense(1, name="price")(both), keras.layers.Dense(2, activation="softmax", name="kind")(both)]
    model = keras.Model([left, right], heads)
    return SparkEstimator(model, optimizer="adam", loss={"price": "mse", "kind": "sparse_categorical_crossentropy"})


# --- candidates -------------------------------------------------------------------------------------------------------


def test_a_candidate_is_what_the_function_says(estimator: Make, prepared: Prepare) -> None:
    def make(params: dict[str, Any]) -> SparkEstimator:
        optimizer = keras.optimizers.Adam(params["rate"])
        return estimator((8,), optimizer=optimizer, batch_size=params["rows"], loss="sparse_categorical_crossentropy")

    space = _space(make, rate=hp_uniform(0.1, 0.2), rows=hp_choice([8, 16]))
    _configured(space, prepared({"x": (8,)}, {"y": (0, 1, 2)}))
    spec = space.build(_hp(space, rate=0.125, rows=16), trial="7", seed=11)
    assert (spec.trial, spec.seed, spec.batch_size) == ("7", 11, 16)
    assert spec.optimizer["config"]["learning_rate"] == pytest.approx(0.125)
    assert space.targets == ({"kind": "classes", "classes": [0, 1, 2], "as": "onehot"},)
    assert space.classifies == (True,)
    assert build_model(spec).output_shape == (None, 3)


def test_equal_values_and_seeds_give_equal_candidates(estimator: Make, prepared: Prepare) -> None:
    space = _space(lambda params: estimator(width=3, batch_size=params["rows"]), rows=hp_choice([8, 16]))
    _configured(space, prepared({"x": (8,)}, {"y": (0, 1, 2)}))
    first = space.build(_hp(space, rows=8), trial="a")
    estimator()
    assert space.build(_hp(space, rows=8), trial="a") == first
    assert first.seed == space.seed
    # One compiled model serves both: they differ in the batch size alone.
    assert space.build(_hp(space, rows=16), trial="a").model == first.model


def test_a_layer_that_nobody_adapted_gets_the_statistics_of_all_rows(prepared: Prepare) -> None:
    def make(params: dict[str, Any]) -> SparkEstimator:
        layers = [keras.Input((8,)), keras.layers.Normalization(), keras.layers.Dense(1)]
        return SparkEstimator(keras.Sequential(layers), optimizer="adam", loss="mse")

    space = _configured(_space(make), prepared({"x": (8,)}, {"y": ()}))
    built = build_model(space.build(_hp(space), trial="a"))
    assert np.allclose(built.layers[0](np.full((1, 8), 2.5)), 1.0)


def test_too_large_candidates_are_rejected(estimator: Make, prepared: Prepare) -> None:
    space = _configured(_space(lambda params: estimator()), prepared({"x": (8,)}, {"y": (0, 1, 2)}))
    space.max_model_size = 20
    with pytest.raises(BuildError, match="more than max_model_size=20") as caught:
        space.build(_hp(space), trial="a")
    assert (caught.value.reason, caught.value.parameters) == ("oversized", 51)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"width": 4}, "the same outputs"),
        ({"shape": (9,)}, "the same inputs"),
        ({"metrics": ["mae"]}, "the same metrics"),
        ({"callbacks": [keras.callbacks.EarlyStopping()]}, "the same callbacks"),
        ({"batch_size": 0}, "`batch_size` must be a whole number"),
        ({"loss": "nonsense"}, "`loss` should be a loss of Keras"),
    ],
)
def test_a_candidate_unlike_the_others_is_rejected(
    estimator: Make, prepared: Prepare, changed: dict[str, Any], message: str
) -> None:
    # Rare enough that a first look does not find it.
    space = _space(lambda params: estimator(**(changed if params["n"] == 7 else {})), n=hp_choice(list(range(99))))
    _configured(space, prepared({"x": (8,)}, {"y": (0, 1, 2)}))
    assert space.build(_hp(space, n=1), trial="a").trial == "a"
    with pytest.raises(BuildError, match=message):
        space.build(_hp(space, n=7), trial="b")


def test_candidates_that_are_all_unlike_are_told_before_any_work(estimator: Make) -> None:
    def make(params: dict[str, Any]) -> SparkEstimator:
        return estimator(callbacks=[keras.callbacks.TensorBoard(f"logs/{params['rate']}")])

    space = _space(make, rate=hp_uniform(0, 1))
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"must give all candidates the same callbacks.*logs/0\.[0-9]+"):
            space.layout(NamedColumns(("x",)), NamedColumns(("y",)))


def test_a_function_that_fails_for_some_values_rejects_those(estimator: Make, prepared: Prepare) -> None:
    def make(params: dict[str, Any]) -> SparkEstimator:
        return estimator() if params["n"] > 1 else 1 // 0  # type: ignore[return-value]

    space = _space(make, n=hp_choice([1, 2, 3, 4, 5, 6]))
    _configured(space, prepared({"x": (8,)}, {"y": (0, 1, 2)}))
    with pytest.raises(BuildError, match=r"`estimator_gen_fn` failed with \{'n': 1\}: ZeroDivisionError"):
        space.build(_hp(space, n=1), trial="a")
    assert space.build(_hp(space, n=2), trial="b").trial == "b"


def test_a_function_that_always_fails_is_told_before_any_work() -> None:
    def make(params: dict[str, Any]) -> SparkEstimator:
        raise KeyError("lr")

    space = _space(make)
    with pytest.raises(ConfigError, match=r"failed with .*KeyError: 'lr'\. So it did with 5 configurations"):
        _ = space.metric_names


# --- columns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "features",
    [["x", "z"], [["x"], ["z"]], {"right": "z", "left": ["x"]}],
)
def test_each_input_has_its_columns(features: Any) -> None:
    layout = _space(_two).layout(named_columns("feature_columns", features), NamedColumns(("p", "k")))
    assert layout.features == (("x",), ("z",))
    assert layout.labels == ("p", "k")
    assert layout.feature_columns == ("x", "z")


def test_each_output_has_its_column_by_name() -> None:
    labels = named_columns("label_columns", {"kind": "k", "price": "p"})
    assert _space(_two).layout(NamedColumns(("x", "z")), labels).labels == ("p", "k")


def test_several_inputs_and_outputs(prepared: Prepare) -> None:
    data = prepared({"x": (4,), "z": ()}, {"p": (), "k": ("cat", "dog")})
    space = _configured(_space(_two), data, (("x",), ("z",)))
    assert [[column.name for column in group] for group in space.features] == [["x"], ["z"]]
    assert [column.name for column in space.labels] == ["p", "k"]
    assert space.targets[0] == {"kind": "values"}
    assert space.targets[1]["classes"] == ["cat", "dog"]
    assert space.classifies == (False, True)


def test_scalar_columns_feed_one_input_together(estimator: Make, prepared: Prepare) -> None:
    data = prepared({"a": (), "b": (), "c": ()}, {"y": (0, 1, 2)})
    space = _configured(_space(lambda params: estimator((3,))), data, (("a", "b", "c"),))
    assert len(space.features[0]) == 3


@pytest.mark.parametrize("shape", [(None, 8), (4, 8)])
def test_a_dimension_may_be_left_open(prepared: Prepare, shape: tuple[int | None, ...]) -> None:
    def make(params: dict[str, Any]) -> SparkEstimator:
        layers = [keras.Input(shape), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)]
        return SparkEstimator(keras.Sequential(layers), optimizer="adam", loss="mse")

    assert _configured(_space(make), prepared({"x": (4, 8)}, {"y": ()})).features


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (["x"], ["p", "k"], r"`feature_columns` must say which columns feed each of the 2 inputs.*\(left, right\)"),
        (["x", "z", "u"], ["p", "k"], r"Received: feature_columns=\['x', 'z', 'u'\]"),
        (["x", "z"], ["p"], r"`label_columns` must name one column for each of the 2 outputs.*\(price, kind\)"),
        ({"lef": "x", "right": "z"}, ["p", "k"], r"`feature_columns` must have the names of the inputs for keys"),
    ],
)
def test_columns_that_do_not_fit(features: Any, labels: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _space(_two).layout(named_columns("feature_columns", features), named_columns("label_columns", labels))


@pytest.mark.parametrize(
    ("features", "groups", "message"),
    [
        ({"x": (9,)}, (("x",),), r"the input 'input_layer' of the model rows of shape \(8,\).*'x' with rows of shape"),
        ({"x": (2, 4)}, (("x",),), r"rows of shape \(2, 4\)"),
        ({"a": (), "b": ()}, (("a", "b"),), r"'a', 'b' with rows of shape \(2,\)"),
        ({"a": (4,), "b": (4,)}, (("a", "b"),), r"one tensor column or several scalar ones"),
    ],
)
def test_rows_that_do_not_fit(estimator: Make, prepared: Prepare, features: Any, groups: Any, message: str) -> None:
    space = _space(lambda params: estimator((8,)))
    with pytest.raises(ConfigError, match=message):
        _configured(space, prepared(features, {"y": (0, 1, 2)}), groups)


# --- identity ---------------------------------------------------------------------------------------------------------


def test_a_space_describes_what_would_change_its_results(estimator: Make) -> None:
    def described(**given: Any) -> dict[str, Any]:
        return _space(lambda params: estimator(**given)).describe()

    first = described()
    assert described() == first
    assert first["search_space.width"] == "hp_choice([3, 4])"
    assert "Dense" in first["model.dense"]
    changes: list[dict[str, Any]] = [{"width": 4}, {"optimizer": "sgd"}, {"metrics": ["accuracy"]}, {"loss": "mse"}]
    for changed in (*changes, {"loss_weights": [2.0]}):
        assert described(**changed) != first
    assert _space(lambda params: estimator(), width=hp_choice([3])).describe() != first


def test_overrides_are_refused(estimator: Make) -> None:
    import keras_tuner

    with pytest.raises(ConfigError, match="`hyperparameters` must be None where there is a `search_space`"):
        _space(lambda params: estimator()).explore(keras_tuner.HyperParameters())
