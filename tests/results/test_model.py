"""A trial is exported with what is known of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from cerebro_nas.errors import DataError
from cerebro_nas.results import ModelSource
from cerebro_nas.results import OutputSpec
from cerebro_nas.results import TrialModel
from cerebro_nas.results import load_model
from cerebro_nas.storage import StateFiles
from cerebro_nas.tracking import TrialRecord
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import build_model
from cerebro_nas.worker import dump_state

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def trial(texts: Any, tmp_path: Path) -> TrialModel:
    """A trial in the store whose first epoch was the best one."""
    states = StateFiles(str(tmp_path / "states"))
    optimizer = keras.optimizers.serialize(keras.optimizers.Adam())
    spec = CandidateSpec("t7", texts.model.to_json(), optimizer, ("mse",), (("mae",),), seed=3)
    states.write_spec("t7", spec.to_json())
    name = states.write("t7", 2, dump_state(build_model(spec), {"trial": "t7", "generation": 2}))
    states.mark_best("t7", name, 2, 0)
    history = {"val_loss": [0.25, 0.75], "val_mae": [0.5, 1.0]}
    source = ModelSource(
        str(tmp_path / "states"), texts.groups, (OutputSpec("y", "values", (), 2),), ("y__output",), 2, fingerprint="f0"
    )
    record = TrialRecord("t7", "COMPLETED", hyperparameters={"units": 8})
    return TrialModel(record, source, recorded_epoch=0, history=history, objective="val_loss")


def test_the_export_of_a_trial(trial: TrialModel, texts: Any, tmp_path: Path) -> None:
    path = tmp_path / "best.keras"
    model = trial.export(path)
    assert model.compiled
    rows = texts.raw["review"]
    expected = trial.keras().predict(texts.encoded[0], verbose=0)
    np.testing.assert_allclose(model.predict(rows, verbose=0), expected, rtol=1e-6)
    np.testing.assert_allclose(load_model(path).predict(rows, verbose=0), expected, rtol=1e-6)
    found = json.loads((tmp_path / "best.keras.json").read_text())
    assert found["data"] == {"fingerprint": "f0"}
    assert found["trial"] == {
        "trial": "t7",
        "epoch": 0,
        "objective": "val_loss",
        "value": 0.25,
        "metrics": {"val_loss": 0.25, "val_mae": 0.5},
        "hyperparameters": {"units": 8},
    }
    assert found["outputs"][0]["label_column"] == "y"


def test_without_a_path_nothing_is_written(trial: TrialModel, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert [tensor.name for tensor in trial.export().inputs] == ["review"]
    assert sorted(tmp_path.rglob("*")) == before


def test_no_rows_are_predictions_of_no_rows(trial: TrialModel) -> None:
    assert trial.predict(np.empty((0, 1), dtype=object)).shape == (0, 2)


def test_there_is_nothing_to_say_of_no_rows(trial: TrialModel) -> None:
    told = r"`evaluate` needs at least one row. Received: arrays of 0 rows. Pass the rows"
    with pytest.raises(DataError, match=told):
        trial.evaluate(np.empty((0, 1), dtype=object), np.empty((0, 2)))


def test_rows_that_cannot_be_used_are_told_with_their_labels(trial: TrialModel) -> None:
    x, y = np.array(["the cat", None, "a dog"], dtype=object), np.array([[1.0, 2.0], [3.0, np.nan], [np.inf, 4.0]])
    with pytest.raises(DataError) as caught:
        trial.evaluate(x, y)
    assert str(caught.value) == (
        "The data cannot be used:\n- column 'review': null in 1 of 3 rows, for example rows [1]\n"
        "- column 'y': NaN or infinite in 2 of 3 rows, for example rows [1, 2]\n"
        "Received: arrays of 3 rows. Clean or drop those rows (row numbers count from 0)."
    )
    with pytest.raises(DataError, match="null in 1 of 3 rows"):
        trial.predict(x)
