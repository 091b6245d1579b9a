"""Rows and classes that count more than others: what the engine does is what `keras.Model.fit` does."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import Unit
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import Engine
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import ShardSpec
from cerebro_nas.worker import build_model
from cerebro_nas.worker import restore_state
from cerebro_nas.worker._row_order import row_order

ROWS = 40
CLASS_WEIGHTS = [1.0, 3.0, 0.5]


@pytest.fixture
def search(tmp_path: Path) -> SearchSpec:
    draw = np.random.default_rng(0)
    shards = []
    for split in ("train", "valid"):
        columns = {
            "x": draw.normal(size=ROWS).astype(np.float32),
            "y": draw.integers(0, 3, ROWS),
            "w": draw.uniform(0, 2, ROWS).astype(np.float32),
        }
        pq.write_table(pa.table(columns), tmp_path / f"{split}.parquet")
        shards.append(ShardSpec(split, 0, f"{split}.parquet", ROWS, ROWS * 16))
    return SearchSpec(
        data_url=str(tmp_path),
        state_url="",
        shards=tuple(shards),
        features=((ColumnSpec("x", (), "float32", "scalar"),),),
        labels=(ColumnSpec("y", (), "int64", "scalar"),),
        targets=({"kind": "classes", "classes": [0, 1, 2], "as": "onehot"},),
        seed=7,
        batch_size=16,
    )


@pytest.fixture(scope="module")
def spec() -> CandidateSpec:
    entry = keras.Input((1,), name="entry")
    model = keras.Model(entry, keras.layers.Dense(3, activation="softmax", name="out")(entry), name="model")
    return CandidateSpec(
        trial="t",
        model=model.to_json(),
        optimizer=keras.optimizers.serialize(keras.optimizers.SGD(0.5)),
        loss=("categorical_crossentropy",),
        metrics=(("accuracy",),),
        seed=3,
    )


def _columns(search: SearchSpec, split: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    table = pq.read_table(Path(search.data_url) / f"{split}.parquet")
    labels = table["y"].to_numpy()
    return table["x"].to_numpy()[:, None], np.eye(3, dtype=np.float32)[labels], labels, table["w"].to_numpy()


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("classes", [False, True])
def test_weights_do_what_keras_does_with_them(
    search: SearchSpec, spec: CandidateSpec, tmp_path: Path, rows: bool, classes: bool
) -> None:
    if rows:
        search = dataclasses.replace(search, weights=ColumnSpec("w", (), "float32", "scalar"))
    if classes:
        search = dataclasses.replace(search, targets=({**search.targets[0], "weights": CLASS_WEIGHTS},))
    engine = Engine(SearchSpec.from_json(search.to_json()), tmp_path / "scratch")
    unit = Unit("t", "train", 0, Shard("train", 0))
    result = engine.run(unit, spec, 0, bytes)
    evaluated = engine.run(Unit("t", "evaluate", 0, Shard("valid", 0)), spec, 1, bytes).report.metrics

    x, y, labels, weights = _columns(search, "train")
    order = row_order(search.seed, unit, ROWS, row_bytes=8)
    given = np.ones(ROWS, np.float32) if not rows else weights
    if classes:
        given = given * np.asarray(CLASS_WEIGHTS, np.float32)[labels]
    model = build_model(spec)
    model.fit(x[order], y[order], batch_size=16, sample_weight=given[order], shuffle=False, verbose=0)
    restored = build_model(spec)
    restore_state(restored, result.state or b"")
    for mine, theirs in zip(restored.get_weights(), model.get_weights(), strict=True):
        assert np.allclose(mine, theirs, atol=1e-6)

    x, y, _, weights = _columns(search, "valid")
    # Weights of classes are for training alone.
    wanted = model.evaluate(x, y, batch_size=16, sample_weight=weights if rows else None, verbose=0, return_dict=True)
    assert evaluated == pytest.approx(wanted, rel=1e-5)


def test_weights_change_what_is_learned(search: SearchSpec, spec: CandidateSpec, tmp_path: Path) -> None:
    weighted = dataclasses.replace(search, weights=ColumnSpec("w", (), "float32", "scalar"))
    unit = Unit("t", "train", 0, Shard("train", 0))
    losses = [
        Engine(s, tmp_path / n).run(unit, spec, 0, bytes).report.metrics for n, s in (("a", search), ("b", weighted))
    ]
    assert losses[0]["loss"] != losses[1]["loss"]
