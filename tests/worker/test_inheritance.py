"""An engine that begins a candidate with another one's weights: when it asks for them, and what it does with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import Unit
from cerebro_nas.testing import tiny_search
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import Engine
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import UnitResult
from cerebro_nas.worker import build_model
from cerebro_nas.worker import restore_state
from cerebro_nas.worker._errors import UnusableStateError

WIDTH, CLASSES = 8, 3


class Fetch:
    """Gives a state, and counts how often."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.calls = 0

    def __call__(self) -> bytes:
        self.calls += 1
        return self.data


@pytest.fixture
def search(tmp_path: Path) -> SearchSpec:
    return tiny_search(tmp_path)[0]


@pytest.fixture
def engine(search: SearchSpec, tmp_path: Path) -> Engine:
    return Engine(search, tmp_path / "engine")


@pytest.fixture
def other_engine(search: SearchSpec, tmp_path: Path) -> Engine:
    return Engine(search, tmp_path / "other")


def _candidate(trial: str, *widths: int, rate: float = 0.01, seed: int = 1, dropout: float = 0.0) -> CandidateSpec:
    keras.backend.clear_session()
    inputs = hidden = keras.Input((WIDTH,))
    for width in widths:
        hidden = keras.layers.Dropout(dropout)(keras.layers.Dense(width, activation="relu")(hidden))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax")(hidden))
    return CandidateSpec(
        trial=trial,
        model=model.to_json(),
        optimizer=keras.optimizers.serialize(keras.optimizers.Adam(rate)),
        loss=("categorical_crossentropy",),
        metrics=(("accuracy",),),
        seed=seed,
        parameters=model.count_params(),
    )


def _run(
    engine: Engine,
    spec: CandidateSpec,
    generation: int = 0,
    fetch: Callable[[], bytes] | None = None,
    phase: str = "train",
) -> UnitResult:
    split = "train" if phase == "train" else "valid"
    unit = Unit(spec.trial, phase, 0, Shard(split, 0))  # type: ignore[arg-type]
    return engine.run(unit, spec, generation, fetch or Fetch())


def _model(spec: CandidateSpec, state: bytes | None) -> keras.Model:
    model = build_model(spec)
    if state is not None:
        restore_state(model, state)
    return model


def _state(result: UnitResult) -> bytes:
    assert result.state is not None
    return result.state


@pytest.fixture
def parent(engine: Engine) -> bytes:
    """What two sub-epochs made of a candidate with one layer of 16."""
    spec = _candidate("parent", 16, seed=5)
    return _state(_run(engine, spec, 1, Fetch(_state(_run(engine, spec)))))


def test_the_same_architecture_goes_on_where_the_other_one_was(engine: Engine, parent: bytes) -> None:
    spec = _candidate("child", 16, rate=0.0).with_parent("parent", "000002-x")
    fetch = Fetch(parent)
    first = _run(engine, spec, 0, fetch)
    assert first.report.detail["inherited_share"] == 1.0
    child, theirs = _model(spec, first.state), _model(_candidate("parent", 16), parent)
    # With a learning rate of its own, which is 0 here, so that it stays where it began.
    for mine, other in zip(child.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert float(child.optimizer.learning_rate) == 0.0
    assert int(child.optimizer.iterations) == int(theirs.optimizer.iterations) + 4
    # Later units know the candidate's own state.
    second = _run(engine, spec, 1, fetch)
    assert "inherited_share" not in second.report.detail
    assert fetch.calls == 1


def test_an_evaluation_before_any_training_is_of_the_parents_weights(
    engine: Engine, other_engine: Engine, parent: bytes
) -> None:
    expected = _run(engine, _candidate("parent", 16, seed=5), 2, Fetch(parent), "evaluate").report.metrics
    spec = _candidate("child", 16).with_parent("parent", "000002-x")
    found = _run(other_engine, spec, 0, Fetch(parent), "evaluate")
    assert found.report.metrics == expected
    assert found.report.detail["inherited_share"] == 1.0
    alone = replace(spec, trial="alone", parent="", parent_state="")
    assert _run(other_engine, alone, 0, Fetch(), "evaluate").report.metrics != expected


def test_layers_that_do_not_match_begin_afresh(engine: Engine, parent: bytes) -> None:
    spec = _candidate("child", 16, 5, rate=0.0).with_parent("parent", "000002-x")
    result = _run(engine, spec, 0, Fetch(parent))
    child, fresh, theirs = _model(spec, result.state), _model(spec, None), _model(_candidate("parent", 16), parent)
    kernels = [[layer.kernel.numpy() for layer in m.layers if hasattr(layer, "kernel")] for m in (child, fresh, theirs)]
    np.testing.assert_array_equal(kernels[0][0], kernels[2][0])
    for layer in (1, 2):
        np.testing.assert_array_equal(kernels[0][layer], kernels[1][layer])
    taken = (WIDTH + 1) * 16
    assert result.report.detail["inherited_share"] * child.count_params() == pytest.approx(taken, abs=CLASSES)
    # Of the optimizer nothing is taken, as it has moments of other weights.
    assert int(child.optimizer.iterations) == 4


def test_it_begins_alike_on_every_worker_and_at_every_attempt(
    engine: Engine, other_engine: Engine, parent: bytes
) -> None:
    """Dropout included: its random state is the parent's too, or the candidate's own, and never what was there."""
    for widths in ((16,), (16, 5)):
        spec = _candidate(f"child{len(widths)}", *widths, dropout=0.5).with_parent("parent", "000002-x")
        first = _run(engine, spec, 0, Fetch(parent))
        # Somebody of the same architecture was trained by the same compiled model in between.
        _run(engine, replace(spec, trial="sibling", seed=9, parent="", parent_state=""))
        again = _run(engine, spec, 0, Fetch(parent))
        elsewhere = _run(other_engine, spec, 0, Fetch(parent))
        assert first.state == again.state == elsewhere.state
        assert first.report.metrics == again.report.metrics == elsewhere.report.metrics


def test_a_damaged_state_of_the_parent_is_told_and_spoils_nothing(
    engine: Engine, other_engine: Engine, parent: bytes
) -> None:
    spec = _candidate("child", 16).with_parent("parent", "000002-x")
    damaged = bytearray(parent)
    damaged[-1] ^= 1
    with pytest.raises(UnusableStateError, match="State 000002-x of trial 'parent'.*checksum"):
        _run(engine, spec, 0, Fetch(bytes(damaged)))
    assert _run(engine, spec, 0, Fetch(parent)).state == _run(other_engine, spec, 0, Fetch(parent)).state


def test_nobody_is_asked_for_weights_where_there_is_no_parent(engine: Engine) -> None:
    fetch = Fetch()
    result = _run(engine, _candidate("alone", 16), 0, fetch)
    assert fetch.calls == 0
    assert "inherited_share" not in result.report.detail


def test_the_parent_travels_with_the_specification() -> None:
    spec = _candidate("child", 4).with_parent("07", "000012-abcdef01")
    found = CandidateSpec.from_json(spec.to_json())
    assert (found.parent, found.parent_state) == ("07", "000012-abcdef01")
    assert found == spec
