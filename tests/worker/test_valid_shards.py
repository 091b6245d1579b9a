"""Several validation shards: what the metrics of an epoch follow from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cerebro_nas.errors import ProtocolError
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import Unit
from cerebro_nas.testing import tiny_search
from cerebro_nas.worker import CandidateError
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import Engine
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import ShardSpec
from cerebro_nas.worker import UnitResult
from cerebro_nas.worker import build_model
from cerebro_nas.worker.messages import COMMAND_LIMIT
from cerebro_nas.worker.messages import REPORT_LIMIT
from cerebro_nas.worker.messages import Done
from cerebro_nas.worker.messages import Report
from cerebro_nas.worker.messages import RunMessage
from cerebro_nas.worker.messages import decode
from cerebro_nas.worker.messages import encode

SIZES = (20, 7, 33)


def _search(
    folder: Path, *, valid: int = len(SIZES)
) -> tuple[SearchSpec, CandidateSpec, tuple[np.ndarray, np.ndarray]]:
    """A regression with metrics that are no means, and the validation rows, whose shards are unlike each other."""
    search, spec = tiny_search(folder)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(sum(SIZES), 3)).astype("float32")
    y = np.sort(draw.normal(size=sum(SIZES))).astype("float32")
    shards, begin = [], 0
    for index, rows in enumerate(SIZES[:valid]):
        part = slice(begin, begin + rows)
        table = pa.table({"x": pa.array(list(x[part]), pa.list_(pa.float32())), "y": y[part]})
        pq.write_table(table, folder / "data" / f"v{index}.parquet")
        shards.append(ShardSpec("valid", index, f"v{index}.parquet", rows, rows * 16))
        begin += rows
    inputs = keras.Input((3,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(1, name="y")(inputs))
    metrics = (keras.metrics.R2Score(), keras.metrics.RootMeanSquaredError(), keras.metrics.MeanAbsoluteError("mae"))
    search = replace(
        search,
        shards=tuple(shards),
        features=((ColumnSpec("x", (3,), "float32", "list"),),),
        labels=(ColumnSpec("y", (), "float32", "scalar"),),
        targets=({"kind": "values"},),
    )
    serialised = tuple(keras.metrics.serialize(metric) for metric in metrics)
    return search, replace(spec, model=model.to_json(), loss=("mse",), metrics=(serialised,)), (x, y[:, None])


def _evaluate(
    engine: Engine, spec: CandidateSpec, index: int, sums: dict[str, list[float]] | None = None
) -> UnitResult:
    return engine.run(Unit(spec.trial, "evaluate", 0, Shard("valid", index)), spec, 0, bytes, sums)


@pytest.mark.parametrize("last", range(3))
def test_the_last_shard_says_what_keras_says_of_all_rows(tmp_path: Path, last: int) -> None:
    search, spec, (x, y) = _search(tmp_path)
    engine = Engine(search, tmp_path / "scratch")
    total: dict[str, np.ndarray] = {}
    for index in {0, 1, 2} - {last}:
        report = _evaluate(engine, spec, index).report
        assert report.merged == {}
        assert len(report.sums["r2_score"]) == 5
        for name, numbers in report.sums.items():
            total[name] = total.get(name, np.zeros(1)) + np.array(numbers)
    sums = {name: values.tolist() for name, values in total.items()}
    # As it travels.
    message = RunMessage(Unit(spec.trial, "evaluate", 0, None), StateRef(0), spec, sums=sums)
    report = _evaluate(engine, spec, last, decode(RunMessage, encode(message), COMMAND_LIMIT).sums).report
    whole = build_model(spec).evaluate(x, y, batch_size=16, verbose=0, return_dict=True)
    assert report.merged == pytest.approx({name: v for name, v in whole.items() if name != "loss"}, rel=1e-4)
    assert report.sums == {}
    # Of the shard itself it says what it said before.
    alone = _evaluate(engine, spec, last).report
    assert alone.metrics == report.metrics
    assert alone.metrics["r2_score"] != pytest.approx(report.merged["r2_score"], rel=0.1)


def test_a_single_shard_sends_nothing_more(tmp_path: Path) -> None:
    search, spec, _ = _search(tmp_path, valid=1)
    report = _evaluate(Engine(search, tmp_path / "scratch"), spec, 0).report
    assert (report.sums, report.merged) == ({}, {})
    sent = encode(Report("w0", 0, 1, Done(Unit("a", "evaluate", 0, None), report)))
    assert b"sums" not in sent
    assert b"merged" not in sent
    assert b"sums" not in encode(RunMessage(Unit("a", "evaluate", 0, None), StateRef(0), spec))


def test_what_is_counted_fits_a_report(tmp_path: Path) -> None:
    search, spec, _ = _search(tmp_path)
    metrics = [keras.metrics.AUC(num_thresholds=3000 + n, name=f"auc{n}") for n in range(4)]
    spec = replace(spec, metrics=(tuple(keras.metrics.serialize(metric) for metric in metrics),))
    outputs = keras.layers.Dense(1, activation="sigmoid", name="y")(inputs := keras.Input((3,), name="x"))
    spec = replace(spec, model=keras.Model(inputs, outputs).to_json())
    report = _evaluate(Engine(search, tmp_path / "scratch"), spec, 0).report
    assert list(report.sums) == ["auc0"]
    worst = {name: [-1.2345678901234567e-300] * len(sums) for name, sums in report.sums.items()}
    sent = encode(Report("w0", 0, 1, Done(Unit("a", "evaluate", 0, None), replace(report, sums=worst))))
    assert len(sent) < REPORT_LIMIT // 2
    assert decode(Report, sent, REPORT_LIMIT).number == 1


def test_sums_of_another_model_are_refused(tmp_path: Path) -> None:
    search, spec, _ = _search(tmp_path)
    with pytest.raises(CandidateError, match="could not be broadcast"):
        _evaluate(Engine(search, tmp_path / "scratch"), spec, 0, {"r2_score": [1.0, 2.0]})
    message = encode(RunMessage(Unit("a", "evaluate", 0, None), StateRef(0), spec, sums={"r2": [1.0]}))
    with pytest.raises(ProtocolError, match=r"RunMessage.sums.r2\[\]"):
        decode(RunMessage, message.replace(b"[1.0]", b'["1"]'), COMMAND_LIMIT)
