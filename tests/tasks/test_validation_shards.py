"""Searches whose validation rows are more than one shard, on real workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

import cerebro_nas as ak
from cerebro_nas.backend import LocalBackend
from cerebro_nas.data import _deal

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROWS = 150


def test_metrics_of_an_epoch_are_those_of_all_validation_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R2 and RMSE of all rows do not follow from those of the shards."""
    monkeypatch.setattr(_deal, "SMALL_VALIDATION_BYTES", 0)
    draw = np.random.default_rng(0)
    x = draw.random((ROWS + 30, 4))
    y = x @ np.arange(4)
    entries = keras_tuner.HyperParameters()
    entries.Fixed("learning_rate", 0.01)
    metrics: list[Any] = [keras.metrics.RootMeanSquaredError(), keras.metrics.R2Score(), "mae"]
    model = ak.StructuredDataRegressor(
        metrics=metrics, max_trials=1, directory=tmp_path, hyperparameters=entries, tuner="random", seed=1
    )
    model.resource_bind(LocalBackend(2, threads_per_worker=1), num_shards=3)
    held = x[ROWS:], y[ROWS:]
    model.fit(x[:ROWS], y[:ROWS], validation_data=held, epochs=2, verbose=0)
    prepared = model._model._prepared
    assert prepared is not None
    assert sum(shard.split == "valid" for shard in prepared.shards) == 3
    history = model.result.get_history()
    best = int(np.argmin(history["val_loss"]))
    expected = model.evaluate(*held, return_dict=True)
    assert {"root_mean_squared_error", "r2_score", "mae"} <= set(expected)
    assert {name: history[f"val_{name}"][best] for name in expected} == pytest.approx(expected, rel=1e-3)
