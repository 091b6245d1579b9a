"""The order of calls, and what each of them takes over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import autokeras as ak
import keras
import keras_tuner
import pytest

from cerebro_nas import HyperHyperModel
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.errors import ConfigError


def _model(**arguments: Any) -> HyperHyperModel:
    inputs = ak.ImageInput()
    outputs = ak.ClassificationHead()(ak.DenseBlock(num_layers=1)(inputs))
    return HyperHyperModel(inputs=inputs, outputs=outputs, **arguments)


@pytest.fixture
def bound(tmp_path: Path) -> Callable[..., HyperHyperModel]:
    def make(evaluation_metric: str = "accuracy", **arguments: Any) -> HyperHyperModel:
        model = _model(**arguments)
        model.resource_bind(
            backend=SimulatedBackend(2), store=str(tmp_path / "store"), evaluation_metric=evaluation_metric
        )
        return model

    return make


def test_what_is_so_unless_it_is_said() -> None:
    model = _model()
    assert (model.max_trials, model.project_name, model.objective) == (100, "auto_model", None)
    assert repr(model) == "HyperHyperModel(project_name='auto_model', resources not bound, max_trials=100)"


def test_the_later_call_wins(bound: Callable[..., HyperHyperModel]) -> None:
    model = bound(max_trials=10, project_name="one", objective="val_loss")
    model.tuner_bind("greedy", max_trials=3, project_name="two", objective="val_accuracy")
    assert (model.max_trials, model.project_name, model.objective) == (3, "two", "val_accuracy")
    model.tuner_bind("random")
    assert (model.max_trials, model.project_name, model.objective) == (3, "two", "val_accuracy")
    model.tuner_bind(max_trials=4)
    assert model.max_trials == 4


def test_what_a_call_leaves_out_stays(bound: Callable[..., HyperHyperModel]) -> None:
    model = bound(max_trials=10, project_name="one", overwrite=True)
    model.tuner_bind("greedy", exploration=0.3, max_trials=None, project_name=None, overwrite=None)
    assert (model.max_trials, model.project_name) == (10, "one")


def test_a_call_that_fails_changes_nothing(bound: Callable[..., HyperHyperModel]) -> None:
    model = bound(max_trials=10)
    with pytest.raises(ConfigError):
        model.tuner_bind(max_trials=-1, project_name="other")
    with pytest.raises(ConfigError):
        model.tuner_bind("gready", max_trials=7, project_name="other")
    model.tuner_bind("random")
    assert (model.max_trials, model.project_name) == (10, "auto_model")


def test_the_objective_is_the_metric_unless_it_is_said(bound: Callable[..., HyperHyperModel]) -> None:
    assert bound().objective == "val_accuracy"
    assert bound("loss").objective == "val_loss"
    assert bound("loss", objective="val_accuracy").objective == "val_accuracy"
    objective = keras_tuner.Objective("val_accuracy", "max")
    assert bound("loss", objective=objective).objective is objective


def test_where_files_go(bound: Callable[..., HyperHyperModel], tmp_path: Path) -> None:
    assert bound(project_name="p").directory == str(tmp_path / "store" / "runs" / "p")
    assert bound(project_name="p", directory=tmp_path / "here").directory == str(tmp_path / "here" / "p")
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "here").exists()


def test_tuner_bind_leaves_no_files(
    bound: Callable[..., HyperHyperModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = bound()
    for tuner in ("greedy", "random", "randomsearch", "grid", "gridsearch"):
        model.tuner_bind(tuner, max_trials=3)
    assert not list(tmp_path.iterdir())


def test_an_oracle_is_left_alone_until_the_search(bound: Callable[..., HyperHyperModel]) -> None:
    oracle = keras_tuner.oracles.RandomSearchOracle(objective=keras_tuner.Objective("val_accuracy", "max"))
    before = dict(vars(oracle))
    bound().tuner_bind(oracle)
    assert vars(oracle) == before


@pytest.mark.case(32)
@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.tuner,
        lambda model: model.result,
        lambda model: model.predict([[0.0]]),
        lambda model: model.evaluate([[0.0]], [0]),
        lambda model: model.export_model(),
    ],
)
def test_results_before_a_search(use: Callable[[HyperHyperModel], Any]) -> None:
    with pytest.raises(ConfigError, match=r"Call `fit`"):
        use(_model())


@pytest.mark.case(32)
def test_other_calls_before_resource_bind() -> None:
    model = _model()
    unused: Any = None
    calls: dict[str, Callable[[], Any]] = {
        "tuner_bind": lambda: model.tuner_bind("greedy"),
        "fit": lambda: model.fit(unused),
        "fit_on_prepared_data": lambda: model.fit_on_prepared_data(),
        "sys_setup|fit": lambda: model.sys_setup(unused),
        "test_tuner_space|fit": lambda: model.test_tuner_space(unused),
        "directory": lambda: model.directory,
    }
    for name, call in calls.items():
        with pytest.raises(ConfigError, match=rf"`({name})` needs to know where.*Call `resource_bind\(backend="):
            call()


def test_callbacks_are_checked_before_anything_else(bound: Callable[..., HyperHyperModel]) -> None:
    unused: Any = None
    with pytest.raises(ConfigError, match="`callbacks` may hold"):
        bound().fit(unused, callbacks=[keras.callbacks.LambdaCallback()])


def test_import_is_light_and_the_name_is_there() -> None:
    import cerebro_nas

    assert cerebro_nas.HyperHyperModel is HyperHyperModel
