"""Small trained models without a search: what `fit` would have packed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cerebro_nas.ml._packed import Packed
from cerebro_nas.results import ModelSource
from cerebro_nas.results import OutputSpec
from cerebro_nas.results import TrialModel
from cerebro_nas.storage import StateFiles
from cerebro_nas.tracking import TrialRecord
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import ColumnSpec

WIDTH = 4

MakeModel = Callable[..., TrialModel]


def _candidate(units: int, activation: str, loss: str) -> CandidateSpec:
    import keras

    keras.backend.clear_session()
    inputs = keras.Input((WIDTH,))
    model = keras.Model(inputs, keras.layers.Dense(units, activation=activation)(inputs))
    return CandidateSpec(
        trial="7",
        model=model.to_json(),
        optimizer=keras.optimizers.serialize(keras.optimizers.Adam(0.01)),
        loss=(loss,),
        metrics=((),),
        seed=1,
        parameters=model.count_params(),
    )


def _weights(units: int, seed: int) -> list[Any]:
    draw = np.random.default_rng(seed)
    return [draw.normal(size=(WIDTH, units)).astype("float32"), draw.normal(size=units).astype("float32")]


@pytest.fixture
def make_model(tmp_path: Any) -> MakeModel:
    """Gives the model of a trial with one dense layer over a column `features` of 4 numbers, in a store."""

    def make(kind: str, classes: tuple[Any, ...] = (), width: int = 1, columns: tuple[str, ...] = ()) -> TrialModel:
        from cerebro_nas.worker import build_model
        from cerebro_nas.worker import dump_state

        units = {"binary": 1, "onehot": len(classes)}.get(kind, width)
        activation = {"binary": "sigmoid", "multilabel": "sigmoid", "onehot": "softmax"}.get(kind, "linear")
        spec = _candidate(units, activation, {"binary": "binary_crossentropy"}.get(kind, "mse"))
        model = build_model(spec)
        model.set_weights(_weights(units, seed=3))
        url = str(tmp_path / "states")
        states = StateFiles(url)
        states.write_spec(spec.trial, spec.to_json())
        name = states.write(spec.trial, 6, dump_state(model, {"trial": spec.trial, "generation": 6}))
        states.mark_best(spec.trial, name, 6, 2)
        specs = tuple(ColumnSpec(column, (), "float32", "scalar") for column in columns)
        source = ModelSource(
            url,
            (specs or (ColumnSpec("features", (WIDTH,), "float32", "list"),),),
            (OutputSpec("label", kind, classes, len(classes) or width),),
            ("label__output",),
            train_shards=2,
            fingerprint="of the rows",
        )
        record = TrialRecord(spec.trial, "COMPLETED", hyperparameters={"learning_rate": 0.01})
        return TrialModel(record, source, recorded_epoch=2, history={"loss": [3.0, 2.0, 1.0]})

    return make


@pytest.fixture
def make_packed(make_model: MakeModel) -> Callable[..., Packed]:
    """Gives what `pack` makes of it."""
    from cerebro_nas.ml._packed import pack

    return lambda *arguments, **named: pack(make_model(*arguments, **named))


@pytest.fixture
def rows() -> Any:
    """Twelve rows of 4 numbers."""
    return np.random.default_rng(5).normal(size=(12, WIDTH)).astype("float32")
