"""`AutoModel`, used as AutoKeras' users use it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import autokeras
import keras
import keras_tuner
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import cerebro_nas as ak
from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.errors import CerebroNasError
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import DataError
from cerebro_nas.testing import SimulatedCrash
from cerebro_nas.testing import crash_after
from cerebro_nas.tuners import RandomOracle

# TensorFlow's variables know NumPy 1 only, which saving them runs into.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Make = Callable[..., ak.AutoModel]
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(60, 4)).astype(np.float32)
Y = X[:, 0] - X[:, 1]
WORDS = np.where(Y > 0.4, "more", np.where(Y < -0.4, "less", "same"))


def _graph(head: Any) -> tuple[Any, Any]:
    inputs = ak.Input()
    return inputs, head(ak.DenseBlock(num_layers=1, num_units=8, dropout=0.0, use_batchnorm=False)(inputs))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A model whose search is simulated."""

    def of(head: Any = None, **arguments: Any) -> ak.AutoModel:
        head = head or ak.ClassificationHead(dropout=0.0)
        given = {"directory": tmp_path, "max_trials": 2, "tuner": "random", **arguments}
        model = ak.AutoModel(*_graph(head), **given)
        model.resource_bind(SimulatedBackend(2))
        return model

    return of


def _journals(model: ak.AutoModel) -> list[str]:
    return sorted(path.parent.name for path in Path(model.directory).rglob("journal.jsonl"))


# --- the constructor --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["__init__", "fit", "predict", "evaluate"])
def test_arguments_are_autokeras_own_in_its_order(method: str) -> None:
    ours = inspect.signature(getattr(ak.AutoModel, method)).parameters
    theirs = inspect.signature(getattr(autokeras.AutoModel, method)).parameters
    assert [(p.name, p.default, p.kind) for p in ours.values()] == [
        (p.name, p.default, p.kind) for p in theirs.values()
    ]


def test_what_was_given_can_be_read(tmp_path: Path) -> None:
    inputs, outputs = _graph(ak.RegressionHead())
    model = ak.AutoModel(inputs, outputs, project_name="mine", max_trials=7, directory=tmp_path, seed=3)
    assert (model.project_name, model.max_trials, model.directory, model.seed) == ("mine", 7, tmp_path, 3)
    assert model.objective == keras_tuner.Objective("val_loss", "min")
    assert (model.inputs, model.outputs) == ([inputs], [outputs[0] if isinstance(outputs, list) else outputs])
    assert model.overwrite is False
    assert ak.AutoModel(*_graph(ak.RegressionHead())).directory == "."
    assert repr(model) == "AutoModel(project_name='mine', max_trials=7)"


def test_nothing_is_written_before_fit(tmp_path: Path) -> None:
    ak.AutoModel(ak.ImageInput(), ak.RegressionHead(), directory=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_oracle_brings_its_objective_and_its_limit(tmp_path: Path) -> None:
    oracle = RandomOracle(objective=keras_tuner.Objective("val_accuracy", "max"), max_trials=5)
    model = ak.AutoModel(*_graph(ak.ClassificationHead()), directory=tmp_path, tuner=oracle)
    assert (model.objective, model.max_trials) == (oracle.objective, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tuner": "unknown"}, "Expected the tuner argument to be one of"),
        ({"factr": 3, "tuner": "hyperband"}, "Did you mean 'factor'"),
        ({"max_trials": 0}, "`max_trials` must be a positive integer"),
        ({"objective": "val_nothing"}, "whose direction is known"),
        ({"directory": 5}, "`directory` must be a path, or None. Received: directory=5"),
        ({"project_name": "a/b"}, "`project_name` must be a plain name"),
        ({"max_model_size": -1}, "max_model_size"),
    ],
)
def test_wrong_arguments_are_told_at_once(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ak.AutoModel(*_graph(ak.ClassificationHead()), **{"directory": tmp_path, **arguments})


def test_workers_are_processes_of_this_machine_unless_bound(tmp_path: Path) -> None:
    model = ak.AutoModel(*_graph(ak.ClassificationHead()), directory=tmp_path)
    backend = model._resources["backend"]
    assert isinstance(backend, LocalBackend)
    assert 1 <= backend.num_workers <= 4


# --- fit --------------------------------------------------------------------------------------------------------------


def test_rows_that_are_split_off_are_trained_on_in_the_end(make: Make) -> None:
    model = make()
    history = model.fit(X, WORDS, epochs=2, verbose=0)
    assert isinstance(history, keras.callbacks.History)
    assert sorted(history.history) == ["accuracy", "loss"]
    assert history.epoch == [0, 1]
    assert _journals(model) == ["auto_model", "auto_model_refit"]
    assert len(model.result.records) == 2
    assert "val_loss" in model.result.get_history()
    phases = {entry.unit.phase for entry in model._model.result.schedule_log}
    assert phases == {"train"}


def test_the_last_rows_are_those_to_validate_on(make: Make) -> None:
    model = make(tuner="random")
    model.fit(X, WORDS, epochs=1, verbose=0, validation_split=0.1)
    prepared = model._model._prepared
    assert prepared is not None
    assert (prepared.train_rows, prepared.valid_rows) == (54, 6)


def test_rows_to_validate_on_are_never_trained_on(make: Make) -> None:
    model = make()
    history = model.fit(X, WORDS, validation_data=(X[:10], WORDS[:10]), verbose=0, callbacks=[_stopping()], epochs=2)
    assert _journals(model) == ["auto_model"]
    # AutoKeras gives None here.
    assert sorted(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert model._model.result is model.result


def test_a_number_of_epochs_is_trained_whatever_stopped_the_search(make: Make) -> None:
    model = make()
    history = model.fit(X, WORDS, validation_data=(X[:10], WORDS[:10]), verbose=0, epochs=3)
    assert _journals(model) == ["auto_model", "auto_model_refit"]
    assert sorted(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert history.epoch == [0, 1, 2]


def test_a_search_that_ended_is_not_run_again(make: Make) -> None:
    first = make()
    history = first.fit(X, WORDS, epochs=2, verbose=0)
    again = make()
    same = again.fit(X, WORDS, epochs=2, verbose=0)
    assert same.history == history.history
    assert again.result.leaderboard().equals(first.result.leaderboard())
    more = make(max_trials=3)
    more.fit(X, WORDS, epochs=2, verbose=0)
    assert len(more.result.records) == 3


def test_a_fit_that_broke_off_in_its_last_training_goes_on_there(make: Make, tmp_path: Path) -> None:
    whole = make(directory=tmp_path / "whole", visit_order="fixed")
    expected = whole.fit(X, WORDS, epochs=2, verbose=0)
    journal = next((tmp_path / "whole").rglob("auto_model/journal.jsonl"))
    searched = len(journal.read_text().splitlines())

    with pytest.raises(SimulatedCrash), crash_after(searched + 4):
        make(visit_order="fixed").fit(X, WORDS, epochs=2, verbose=0)
    model = make(visit_order="fixed")
    assert _journals(model) == ["auto_model", "auto_model", "auto_model_refit", "auto_model_refit"]
    assert model.fit(X, WORDS, epochs=2, verbose=0).history == expected.history
    assert model.result.leaderboard()["trial"].tolist() == whole.result.leaderboard()["trial"].tolist()


def _stopping() -> keras.callbacks.EarlyStopping:
    return keras.callbacks.EarlyStopping(patience=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation_split": 0}, "Either validation_data or a non-zero validation_split"),
        ({"validation_split": 1.5}, "`validation_split` must be a fraction"),
        ({"validation_data": X}, "`validation_data` must be a tuple of x and y. .*validation_data, a ndarray"),
        ({"validation_data": (X, WORDS, WORDS)}, "Received: validation_data, a tuple of 3"),
        ({"y": WORDS[:-1]}, "Expected x and y to have equally many rows"),
        ({"validation_data": (X, WORDS[:-1])}, "x and y in validation_data to have equally many rows"),
        ({"validation_data": (X, [1, 2])}, "Expected y in validation_data to be a numpy array"),
        ({"steps_per_epoch": 3}, "`fit` can take `steps_per_epoch` as None only"),
        ({"class_wieght": {}}, "Did you mean 'class_weight'"),
        ({"epoch": 5}, "Did you mean 'epochs'"),
        ({"callbacks": [keras.callbacks.ModelCheckpoint("x.keras")]}, "Remove ModelCheckpoint"),
        ({"sample_weight": np.ones(60)}, "`sample_weight` needs `validation_data`"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
    ],
)
def test_what_fit_cannot_take(make: Make, arguments: dict[str, Any], message: str) -> None:
    model = make()
    with pytest.raises(ConfigError, match=message):
        model.fit(X, **{"y": WORDS, "epochs": 1, "verbose": 0, **arguments})
    assert _journals(model) == []


def test_what_keras_takes_and_asks_for_nothing_is_taken(make: Make) -> None:
    make().fit(X, WORDS, epochs=1, verbose=0, shuffle=True, steps_per_epoch=None, class_weight=None)


def test_hyperband_of_autokeras(make: Make) -> None:
    model = make(tuner=ak.Hyperband, max_trials=4, max_epochs=3, hyperband_iterations=1)
    history = model.fit(X, WORDS, epochs=1, verbose=0)
    assert max(record.cost.epochs for record in model.result.records) == 3
    assert history.epoch == [0]


def test_a_model_is_saved_at_a_path(make: Make) -> None:
    with pytest.raises(
        ConfigError, match=r"Argument `path` should be a path, or None\. Received: path=3 \(of type int"
    ):
        make().export_model(3)  # type: ignore[arg-type]


def test_nothing_can_be_predicted_before_fit(make: Make) -> None:
    for method, arguments in (("predict", (X,)), ("evaluate", (X, WORDS)), ("export_model", ())):
        with pytest.raises(ConfigError, match="Call `fit`"):
            getattr(make(), method)(*arguments)
    with pytest.raises(ConfigError, match="Call `fit`"):
        _ = make().tuner


class _Searched:
    """What has become of a search, in place of a model."""

    def __init__(self, predicted: NDArray[Any]) -> None:
        self.predicted = predicted
        self.best_model = self

    def predict(self, x: Any, batch_size: int) -> Any:
        return self.predicted


@pytest.mark.parametrize(
    "arguments",
    [
        {"x": X, "y": np.eye(2)[(Y > 0).astype(int)], "validation_split": 1.5},
        {"x": X, "y": (Y > 0).astype(int), "epochs": 0},
        {"x": X[:, :3], "y": (Y > 0).astype(int), "class_weight": {"nothing": 1}},
    ],
    ids=["before it is read", "before it is prepared", "after that"],
)
def test_a_fit_that_is_refused_leaves_the_model_before_it(make: Make, arguments: dict[str, Any]) -> None:
    model = make()
    model.fit(X, WORDS, epochs=1, verbose=0)
    before = model.result
    model._model._keep(_Searched(np.array(["more", "less"])))  # type: ignore[arg-type]
    with pytest.raises(CerebroNasError):
        model.fit(**{"epochs": 1, "verbose": 0, **arguments})
    assert model.predict(X[:2]).tolist() == [["more"], ["less"]]
    assert model.result is before


def test_a_search_that_was_interrupted_is_the_one_that_is_used(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    model.fit(X, WORDS, epochs=1, verbose=0)

    def interrupted(**_: Any) -> None:
        model._model._keep(_Searched(np.array([1, 0])))  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(model._model, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, (Y > 0).astype(int), epochs=1, verbose=0)
    assert model.predict(X[:2]).tolist() == [[1.0], [0.0]]
    assert model.result is model._model.result


# --- on processes -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> ak.AutoModel:
    """Two heads, of words and of numbers, on arrays and a frame."""
    table, rows = ak.StructuredDataInput(name="table"), ak.Input(name="rows")
    dense = ak.DenseBlock(num_layers=1, num_units=8, dropout=0.0, use_batchnorm=False)
    merged = ak.Merge(merge_type="concatenate")([dense(rows), table])
    outputs = [ak.ClassificationHead(name="word", dropout=0.0)(merged), ak.RegressionHead(name="number")(merged)]
    model = ak.AutoModel([rows, table], outputs, directory=tmp_path_factory.mktemp("fitted"), max_trials=1, seed=1)
    model.resource_bind(LocalBackend(2, threads_per_worker=1))
    model.fit([X, _frame()], [WORDS, Y], epochs=2, verbose=0, batch_size=16)
    return model


def _frame() -> pd.DataFrame:
    return pd.DataFrame({"a": X[:, 1], "b": np.where(X[:, 2] > 0, "yes", "no")})


def test_predictions_look_as_autokeras_gives_them(fitted: ak.AutoModel) -> None:
    words, numbers = fitted.predict([X, _frame()], verbose=0)
    assert (words.shape, words.dtype.kind, set(words.ravel()) <= set(WORDS)) == ((60, 1), "U", True)
    assert (numbers.shape, numbers.dtype.kind) == ((60, 1), "f")


def test_no_rows_have_predictions_of_no_rows_and_no_metrics(fitted: ak.AutoModel) -> None:
    x = [X[:0], _frame()[:0]]
    words, numbers = fitted.predict(x, verbose=0)
    assert (words.shape, words.dtype.kind, numbers.shape) == ((0, 1), "U", (0, 1))
    with pytest.raises(DataError, match="`evaluate` needs at least one row"):
        fitted.evaluate(x, [WORDS[:0], Y[:0]])


def test_rows_that_training_would_have_refused_are_refused(fitted: ak.AutoModel) -> None:
    holes, frame = X.copy(), _frame()
    holes[3, 0], frame.loc[2, "b"] = np.inf, None
    with pytest.raises(DataError) as caught:
        fitted.predict([holes, frame])
    assert "NaN or infinite in 1 of 60 rows, for example rows [3]" in str(caught.value)
    assert "null in 1 of 60 rows, for example rows [2]" in str(caught.value)
    with pytest.raises(DataError) as also:
        fitted.evaluate([holes, frame], [WORDS, np.append(Y[1:], np.nan)])
    assert str(also.value).count("in 1 of 60 rows") == str(caught.value).count("in 1 of 60 rows") + 1 == 3


def test_metrics_come_in_the_order_of_keras(fitted: ak.AutoModel) -> None:
    found = fitted.evaluate([X, _frame()], [WORDS, Y], verbose=0)
    named = fitted.evaluate([X, _frame()], [WORDS, Y], return_dict=True)
    assert list(found) == [
        named[name] for name in ("loss", "word_loss", "number_loss", "number_mean_squared_error", "word_accuracy")
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_that_order_is_the_one_of_keras_itself(count: int, tmp_path: Path) -> None:
    heads = [ak.RegressionHead(name="one", metrics=["mse", "mae"]), ak.RegressionHead(name="alike", metrics=["mae"])]
    node = ak.Input()
    outputs = [head(node) for head in heads[:count]]
    ours = ak.AutoModel(node, outputs, directory=tmp_path)
    entry = keras.Input((4,))
    model = keras.Model(entry, [keras.layers.Dense(1, name=head.name)(entry) for head in heads[:count]])
    model.compile(loss=["mse"] * count, metrics=[["mse", "mae"], ["mae"]][:count])
    labels = [Y.reshape(-1, 1) * (1 + number) for number in range(count)]
    expected = model.evaluate(X, labels, verbose=0)
    named = model.evaluate(X, labels, verbose=0, return_dict=True)
    assert len(set(expected)) > 1
    assert [named[name] for name in sorted(named, key=ours._place)] == expected


def test_metrics_may_be_functions_aliases_and_objects(tmp_path: Path) -> None:
    # Each kind of name comes behind one that the alphabet has later.
    metrics = [keras.metrics.mean_squared_error, "mae", keras.metrics.MeanAbsoluteError(name="error"), "MAPE"]
    node, entry = ak.Input(), keras.Input((4,))
    ours = ak.AutoModel(node, ak.RegressionHead(metrics=metrics)(node), directory=tmp_path)
    model = keras.Model(entry, keras.layers.Dense(1)(entry))
    model.compile(loss="mean_squared_logarithmic_error", metrics=metrics)
    expected = model.evaluate(X, Y, verbose=0)
    named = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert [named[name] for name in sorted(named, key=ours._place)] == expected
    assert sorted(named, key=ours._place) == ["loss", "mean_squared_error", "mae", "error", "MAPE"]


def test_the_model_has_been_trained_on_all_rows(fitted: ak.AutoModel, tmp_path: Path) -> None:
    model = fitted.export_model(tmp_path / "best.keras")
    # 60 rows in batches of 16, in two or three shards of which each may end in a smaller batch.
    assert isinstance(model, keras.Model)
    assert int(model.optimizer.iterations.numpy()) >= 2 * 4
    assert (tmp_path / "best.keras").exists()
