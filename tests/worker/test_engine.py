from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import Literal

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import StoreError
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import Unit
from cerebro_nas.worker import CandidateError
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import Engine
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import ShardSpec
from cerebro_nas.worker import UnitResult
from cerebro_nas.worker import build_model
from cerebro_nas.worker import dump_state
from cerebro_nas.worker import restore_state
from cerebro_nas.worker._errors import UnusableStateError
from cerebro_nas.worker._loop import Loop
from cerebro_nas.worker._row_order import row_order
from cerebro_nas.worker._shard_cache import ShardCache

Split = Literal["train", "valid"]
Image = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Target = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

# A worker as far as states are concerned: reads "generation epoch shard" lines, leaves each state in a file.
_WORKER = """
import sys
from pathlib import Path
from cerebro_nas.hopper import Shard, Unit
from cerebro_nas.worker import CandidateSpec, Engine, SearchSpec
folder = Path(sys.argv[1])
search = SearchSpec.from_json((folder / "search").read_text())
spec = CandidateSpec.from_json((folder / "spec").read_text())
engine = Engine(search, folder / sys.argv[2])
for line in sys.stdin:
    generation, epoch, index = map(int, line.split())
    unit = Unit(spec.trial, "train", epoch, Shard("train", index))
    result = engine.run(unit, spec, generation, (folder / f"state{generation}").read_bytes)
    (folder / f"state{result.generation}").write_bytes(result.state)
    print("done", flush=True)
"""

# In a process of its own too: how many threads TensorFlow uses, which the last bits of convolutions depend on, was
# settled in this one by whichever test used it first.
_KERAS = """
import sys
from pathlib import Path
from cerebro_nas.worker import CandidateSpec, SearchSpec
from tests.worker.test_engine import _fit
folder = Path(sys.argv[1])
search = SearchSpec.from_json((folder / "search").read_text())
spec = CandidateSpec.from_json((folder / "spec").read_text())
for name, visits in (("fitted", [(0, 0), (0, 1), (1, 1), (1, 0)]), ("otherwise", [(0, 1), (0, 0), (1, 1), (1, 0)])):
    (folder / name).write_bytes(_fit(search, spec, visits))
"""


@pytest.fixture
def search(tmp_path: Path) -> SearchSpec:
    """Two training shards and one for validation; batches of 16 leave partial ones in each."""
    draw = np.random.default_rng(0)
    shards = []
    sizes: tuple[tuple[Split, int, int], ...] = (("train", 0, 70), ("train", 1, 50), ("valid", 0, 45))
    for split, index, rows in sizes:
        images = draw.integers(0, 256, (rows, 64), dtype=np.uint8)
        labels = draw.integers(0, 4, rows)
        path = f"{split}-{index}.parquet"
        pq.write_table(pa.table({"x": pa.array(list(images), pa.list_(pa.uint8())), "y": labels}), tmp_path / path)
        shards.append(ShardSpec(split, index, path, rows, images.nbytes))
    return SearchSpec(
        data_url=str(tmp_path),
        state_url="",
        shards=tuple(shards),
        features=((ColumnSpec("x", (8, 8, 1), "uint8", "list"),),),
        labels=(ColumnSpec("y", (), "int64", "scalar"),),
        targets=({"kind": "classes", "classes": [0, 1, 2, 3], "as": "onehot"},),
        seed=7,
        batch_size=16,
    )


def _candidate(
    trial: str = "t0", *, conv: bool = True, schedule: bool = False, rate: float = 1e-3, seed: int = 3
) -> CandidateSpec:
    layers = keras.layers
    entry = keras.Input((8, 8, 1), dtype="uint8", name="entry")
    x = layers.Normalization(name="normalization")(layers.Rescaling(1 / 255, name="rescaling")(entry))
    x = layers.Conv2D(6, 3, name="conv")(x) if conv else layers.Dense(5, name="dense")(x)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="batch_normalization")(x))
    x = layers.Dropout(0.3, name="dropout")(layers.Flatten(name="flatten")(x))
    model = keras.Model(entry, layers.Dense(4, activation="softmax", name="out")(x), name="model")
    optimizer = keras.optimizers.Adam(rate, name="adam")
    if schedule:
        decay = keras.optimizers.schedules.PolynomialDecay(1e-2, 20, 1e-4)
        optimizer = keras.optimizers.AdamW(decay, weight_decay=1e-2, name="adamw")
    return CandidateSpec(
        trial=trial,
        model=model.to_json(),
        optimizer=keras.optimizers.serialize(optimizer),
        loss=("categorical_crossentropy",),
        metrics=(("accuracy",),),
        adapted={"normalization": {"mean": [0.5], "variance": [0.08]}},
        seed=seed,
        parameters=model.count_params(),
    )


def _never() -> bytes:
    raise AssertionError("the state is resident")


def _train(
    engine: Engine, spec: CandidateSpec, generation: int, epoch: int, index: int, fetch: Callable[[], bytes] = _never
) -> UnitResult:
    return engine.run(Unit(spec.trial, "train", epoch, Shard("train", index)), spec, generation, fetch)


def _evaluate(engine: Engine, spec: CandidateSpec, generation: int) -> UnitResult:
    return engine.run(Unit(spec.trial, "evaluate", 0, Shard("valid", 0)), spec, generation, _never)


def _state(result: UnitResult) -> bytes:
    assert result.state is not None
    return result.state


def _equal(one: bytes, other: bytes) -> bool:
    a, b = load(one), load(other)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def _rows(search: SearchSpec, split: Split, index: int) -> tuple[Image, Target]:
    table = pq.read_table(Path(search.data_url) / f"{split}-{index}.parquet")
    images = np.array(table["x"].to_pylist(), np.uint8).reshape(-1, 8, 8, 1)
    return images, np.eye(4, dtype=np.float32)[table["y"].to_numpy()]


def _fit(search: SearchSpec, spec: CandidateSpec, visits: list[tuple[int, int]]) -> bytes:
    model = build_model(spec)
    for epoch, index in visits:
        images, targets = _rows(search, "train", index)
        order = row_order(search.seed, Unit(spec.trial, "train", epoch, Shard("train", index)), len(images), 68)
        model.fit(images[order], targets[order], batch_size=search.batch_size, shuffle=False, verbose=0)
    return dump_state(model, {})


@pytest.mark.slow
@pytest.mark.parametrize("conv", [True, False])
@pytest.mark.parametrize("schedule", [True, False])
def test_hopping_between_two_processes_equals_keras_fit_bit_for_bit(
    search: SearchSpec, tmp_path: Path, conv: bool, schedule: bool
) -> None:
    spec = _candidate(conv=conv, schedule=schedule)
    (tmp_path / "search").write_text(search.to_json())
    (tmp_path / "spec").write_text(spec.to_json())
    visits = [(0, 0), (0, 1), (1, 1), (1, 0)]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    try:
        for generation, (epoch, index) in enumerate(visits):
            worker = workers[generation % 2]
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write(f"{generation} {epoch} {index}\n")
            worker.stdin.flush()
            assert worker.stdout.readline() == "done\n"
    finally:
        for worker in workers:
            worker.communicate(timeout=30)
    hopped = (tmp_path / "state4").read_bytes()
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", _KERAS, str(tmp_path)], cwd=root, check=True, timeout=60)
    assert _equal(hopped, (tmp_path / "fitted").read_bytes())
    assert not _equal(hopped, (tmp_path / "otherwise").read_bytes())


def test_candidates_of_one_architecture_share_one_trace(search: SearchSpec, tmp_path: Path) -> None:
    shared, alone = Engine(search, tmp_path / "shared"), Engine(search, tmp_path / "alone")
    second = _candidate("b", rate=5e-2, seed=2)
    _train(shared, _candidate("a"), 0, 0, 0)
    result = _train(shared, second, 0, 0, 1)
    assert (shared.traces, shared.num_models) == (1, 1)
    # It inherits nothing of the first: weights, seeds, optimizer and learning rate are its own.
    assert _equal(_state(result), _state(_train(alone, second, 0, 0, 1)))


def test_candidates_that_weigh_their_losses_otherwise_share_no_trace(search: SearchSpec, tmp_path: Path) -> None:
    engine, plain = Engine(search, tmp_path / "scratch"), _candidate("a", conv=False)
    doubled = replace(plain, trial="b", loss_weights=(2.0,))
    losses = [_evaluate(engine, spec, 0).report.metrics["loss"] for spec in (plain, doubled)]
    assert engine.num_models == 2
    assert losses[1] == pytest.approx(2 * losses[0], rel=1e-6)


def test_a_streamed_shard_gives_what_a_resident_one_gives(search: SearchSpec, tmp_path: Path) -> None:
    spec = _candidate(conv=False)
    resident, streamed = Engine(search, tmp_path / "a"), Engine(search, tmp_path / "b", resident_bytes=3000)
    one, other = _train(resident, spec, 0, 0, 0), _train(streamed, spec, 0, 0, 0)
    assert streamed.progress > resident.progress  # the same steps, in pieces
    assert _equal(_state(one), _state(other))
    assert one.report.metrics == other.report.metrics
    assert _evaluate(resident, spec, 1).report.metrics == _evaluate(streamed, spec, 1).report.metrics


def test_metrics_weigh_rows_as_keras_evaluate_does(search: SearchSpec, tmp_path: Path) -> None:
    engine, spec = Engine(search, tmp_path / "scratch"), _candidate(conv=False)
    state = _state(_train(engine, spec, 0, 0, 0))
    model = build_model(spec)
    restore_state(model, state)
    images, targets = _rows(search, "valid", 0)
    wanted = model.evaluate(images, targets, batch_size=search.batch_size, verbose=0, return_dict=True)
    result = _evaluate(engine, spec, 1)
    assert (result.state, result.generation, result.report.rows) == (None, 1, 45)
    assert result.report.metrics == pytest.approx(wanted, rel=1e-6)


@pytest.mark.case(15)
def test_a_loss_that_is_not_finite_is_the_candidates_fault(search: SearchSpec, tmp_path: Path) -> None:
    engine, spec = Engine(search, tmp_path / "scratch"), _candidate(conv=False, rate=1e30)
    with pytest.raises(CandidateError) as caught:
        for generation in range(4):
            _train(engine, spec, generation, generation, 0)
    assert caught.value.reason == "nan_loss"


@pytest.mark.case(18)
@pytest.mark.parametrize("change", [{"model": json.dumps({"class_name": "Nope", "config": {}})}, {"loss": ("nope",)}])
def test_a_model_that_keras_refuses_is_the_candidates_fault(
    search: SearchSpec, tmp_path: Path, change: dict[str, object]
) -> None:
    spec = dataclasses.replace(_candidate(conv=False), **change)  # type: ignore[arg-type] # one field of its own type
    with pytest.raises(CandidateError) as caught:
        _train(Engine(search, tmp_path / "scratch"), spec, 0, 0, 0)
    assert caught.value.reason == "build_error"


def test_the_least_recently_used_model_goes_first(search: SearchSpec, tmp_path: Path) -> None:
    engine = Engine(search, tmp_path / "scratch", max_models=1)
    _train(engine, _candidate("a", conv=False), 0, 0, 0)
    _train(engine, _candidate("b", conv=False, schedule=True), 0, 0, 0)
    assert engine.num_models == 1


def test_large_models_go_sooner(search: SearchSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = _candidate("a", conv=False)
    # Weights, moments of Adam, and the statistics of normalisation: room for one of them, or for two.
    size = len(dump_state(build_model(small), {}))
    for allowed, kept in ((8 * size, 1), (8 * 4 * size, 2)):
        monkeypatch.setattr("cerebro_nas.worker._engine.allowed_memory_bytes", lambda allowed=allowed: allowed)
        engine = Engine(search, tmp_path / str(allowed), resident_bytes=1 << 20)
        _train(engine, small, 0, 0, 0)
        _train(engine, _candidate("b", conv=False, schedule=True), 0, 0, 0)
        assert engine.num_models == kept


@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: b"", lambda data: bytes(100)])
def test_damaged_bytes_are_refused(damage: Callable[[bytes], bytes]) -> None:
    model = build_model(_candidate(conv=False))
    with pytest.raises(CorruptStateError):
        restore_state(model, damage(dump_state(model, {})))


def test_the_state_of_another_architecture_is_refused() -> None:
    model = build_model(_candidate(conv=False))
    with pytest.raises(CorruptStateError):
        restore_state(model, dump_state(build_model(_candidate(conv=True)), {}))
    assert _equal(dump_state(model, {}), dump_state(build_model(_candidate(conv=False)), {}))


@pytest.mark.case(19)
def test_progress_moves_with_every_step_and_part_of_a_unit(search: SearchSpec, tmp_path: Path) -> None:
    engine, spec = Engine(search, tmp_path / "scratch"), _candidate(conv=False)
    engine.preload("train", 0)
    assert engine.progress == 1
    _train(engine, spec, 0, 0, 0)
    assert engine.progress == 1 + 5 + 5  # 70 rows in batches of 16; shard, model, state in, steps, state out
    _evaluate(engine, spec, 1)
    assert engine.progress == 11 + 3 + 5 + 3  # the last ones are timed without tracing


@pytest.mark.case(12)
@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: data.replace(b"generation", b"generatiom")])
def test_a_state_that_cannot_be_used_is_told_from_other_failures_and_leaves_nothing(
    search: SearchSpec, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    engine, spec = Engine(search, tmp_path / "scratch"), _candidate(conv=False)
    state = _state(_train(Engine(search, tmp_path / "other"), spec, 0, 0, 0))
    with pytest.raises(UnusableStateError):
        _train(engine, spec, 1, 0, 1, lambda: damage(state))
    good = _train(engine, spec, 1, 0, 1, lambda: state)
    assert _equal(_state(good), _fit(search, spec, [(0, 0), (0, 1)]))


@pytest.mark.case(20)
def test_a_unit_that_fails_half_way_leaves_nothing_to_the_next_one(
    search: SearchSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, spec = Engine(search, tmp_path / "scratch", resident_bytes=3000), _candidate(conv=False)
    other = _candidate("b", conv=False, rate=5e-2, seed=2)
    whole = Loop.train
    pieces: list[int] = []

    def stumbling(loop: Loop, inputs: Any, targets: Any, order: Any, size: int) -> None:
        pieces.append(len(order))
        if len(pieces) == 2:
            raise StoreError("the reader stumbled")
        whole(loop, inputs, targets, order, size)

    monkeypatch.setattr(Loop, "train", stumbling)
    with pytest.raises(StoreError):
        _train(engine, spec, 0, 0, 0)
    pieces += [0, 0]
    result = _train(engine, other, 0, 0, 0)
    assert (sum(pieces[4:]), result.report.rows) == (70, 70)
    # The failed candidate's steps are in neither state: all rows once, in the order that belongs to the unit.
    assert _equal(_state(result), _fit(search, other, [(0, 0)]))
    assert _equal(_state(_train(engine, spec, 0, 0, 0)), _fit(search, spec, [(0, 0)]))


@pytest.mark.case(16)
@pytest.mark.parametrize("where", ["load", "resident"])
def test_memory_that_runs_out_while_a_shard_is_decoded_is_told_as_such(
    search: SearchSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: Any) -> None:
        raise MemoryError("Unable to allocate 9 GiB")

    engine = Engine(search, tmp_path / "scratch")
    monkeypatch.setattr(ShardCache, where, full)
    with pytest.raises(CandidateError, match="9 GiB") as caught:
        if where == "load":
            _train(engine, _candidate(conv=False), 0, 0, 0)
        else:
            engine.preload("train", 0)
    assert caught.value.reason == "oom"


@pytest.mark.case(16)
def test_a_model_too_large_for_the_memory_is_told_as_such_and_the_next_one_runs(
    search: SearchSpec, tmp_path: Path
) -> None:
    entry = keras.Input((8, 8, 1), dtype="uint8", name="entry")
    wide = keras.layers.Dense(4, name="out")(keras.layers.Flatten(name="flatten")(entry))
    model = json.loads(keras.Model(entry, wide, name="model").to_json())
    next(layer for layer in model["config"]["layers"] if layer["name"] == "out")["config"]["units"] = 1 << 40
    engine = Engine(search, tmp_path / "scratch")
    with pytest.raises(CandidateError) as caught:
        _train(engine, dataclasses.replace(_candidate(conv=False), model=json.dumps(model)), 0, 0, 0)
    assert caught.value.reason == "oom"
    assert _train(engine, _candidate(conv=False), 0, 0, 0).state


def test_a_child_begins_with_its_parents_weights(search: SearchSpec, tmp_path: Path) -> None:
    parent = _candidate("parent")
    engine = Engine(search, tmp_path / "a")
    state = _state(_train(engine, parent, 0, 0, 0))
    metrics = _evaluate(engine, parent, 1).report.metrics
    child = replace(_candidate("child", seed=9), parent="parent", parent_state="000001-0")
    found = engine.run(Unit("child", "evaluate", 0, Shard("valid", 0)), child, 0, lambda: state)
    assert found.report.detail["inherited_share"] == 1.0
    assert found.report.metrics == metrics
    # In a fresh engine too, and again after another candidate; only at the beginning.
    first = Engine(search, tmp_path / "b").run(Unit("child", "train", 0, Shard("train", 1)), child, 0, lambda: state)
    again = engine.run(Unit("child", "train", 0, Shard("train", 1)), child, 0, lambda: state)
    assert _state(first) == _state(again)
    assert "inherited_share" not in _train(engine, child, 1, 0, 0).report.detail
    with pytest.raises(UnusableStateError, match="000001-0 of trial 'parent'"):
        Engine(search, tmp_path / "c").run(Unit("child", "train", 0, Shard("train", 1)), child, 0, lambda: b"no")


def test_the_time_of_a_row_holds_no_tracing(search: SearchSpec, tmp_path: Path) -> None:
    engine = Engine(search, tmp_path / "scratch")
    spec = _candidate()
    first, second = (_evaluate(engine, spec, 0).report for _ in range(2))
    assert first.detail["traces"] == 1
    assert second.detail["traces"] == 0
    # Tracing takes a hundred times as long as these rows.
    assert first.detail["row_s"] < first.busy_seconds / first.rows / 10
    assert "row_s" not in second.detail
    engine.close()
