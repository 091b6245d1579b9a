from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks import __main__ as command_line
from benchmarks import _sides
from benchmarks import _w8_data
from benchmarks import growth
from benchmarks import memory
from benchmarks import trials
from benchmarks import w8
from benchmarks._errors import BenchmarkError
from benchmarks._process import ProcessFigures
from benchmarks._sides import SIDES
from benchmarks._sides import Run
from benchmarks.growth import Size

has_images = pytest.mark.skipif(
    not (_w8_data.FOLDER / "train-labels-idx1-ubyte.gz").exists(), reason="dataset-fashion-mnist is not installed"
)


def _run(side: str, makespan: float, warm: float | None = None, accuracy: float = 0.86, **details: Any) -> Run:
    figures = ProcessFigures(makespan, {"python": 10.0, "jvm": 5.0}, 1 << 30, 0.0)
    return Run(side, side, makespan, warm, figures, {"a": accuracy, "b": accuracy + 0.01}, 0.03, details)


def test_the_candidates_are_the_eight_of_the_workload() -> None:
    found = _w8_data.candidates()
    assert len({item["name"] for item in found}) == 8
    assert {(item["width"], item["kernel"]) for item in found} == {(8, 3), (8, 5), (16, 3), (16, 5)}
    twice = _w8_data.candidates(2)
    assert len({item["name"] for item in twice}) == len({item["seed"] for item in twice}) == 16


@has_images
def test_the_data_is_scaled_and_written_once(tmp_path: Path) -> None:
    _w8_data.write_data(tmp_path, train=50, valid=20)
    before = (tmp_path / "train.parquet").stat().st_mtime_ns
    _w8_data.write_data(tmp_path, train=50, valid=20)
    assert (tmp_path / "train.parquet").stat().st_mtime_ns == before
    table = pq.read_table(tmp_path / "train.parquet")
    pixels = np.asarray(table["features"].combine_chunks().flatten())
    assert len(pixels) == 50 * 784
    assert (pixels.min(), pixels.max()) == (0.0, 1.0)
    assert set(table["label"].to_pylist()) <= set(range(10))


def test_a_folder_without_the_images(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="dataset-fashion-mnist"):
        _w8_data.write_data(tmp_path, tmp_path)


def test_the_table_has_medians_and_the_fastest_side_first() -> None:
    ours = [_run("cerebro_nas", s, s - 8, seconds={"steps_s": 2 * (s - 8) * 0.95}) for s in (29.0, 28.0, 90.0)]
    table = w8.table([*ours, _run("floor, graph", 20.0, 18.0), _run("Optuna", 40.0, 36.0, busy=70.0)])
    assert [row[0] for row in table.rows] == ["floor, graph", "cerebro_nas", "Optuna"]
    assert table.rows[1][1:5] == (3, "29.0", "21.0", "1.45")
    assert table.rows[1][7] == "95.0%"
    assert table.rows[2][7] == "97.2%"


def test_ratios() -> None:
    runs = [_run("cerebro_nas", 28.0, 19.8), _run("floor, graph", 20.0, 18.0), _run("Optuna", 40.0)]
    found = {row[0]: row[1] for row in w8.ratios(runs).rows}
    assert found["warm makespan / warm floor"] == "1.100"
    assert found["makespan / Optuna"] == "0.700"
    assert found["driver's CPU while the workers train, cores"] == "0.030"


def test_accuracies_must_agree_where_the_candidates_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [_run("cerebro_nas", 1.0), _run("floor, graph", 1.0, accuracy=0.865)]
    others = _run("AutoKeras, other models", 1.0, accuracy=0.4)
    assert w8.agree([*runs, others])
    assert not w8.agree([*runs, _run("Optuna", 1.0, accuracy=0.7)])
    assert "Optuna" in capsys.readouterr().out


def test_sides_are_named_on_the_command_line() -> None:
    assert w8.choose("none", _sides.PEERS) == []
    assert w8.choose("all", _sides.PEERS) == list(_sides.PEERS)
    assert w8.choose("Optuna; Ray Tune", _sides.PEERS) == [SIDES["Optuna"], SIDES["Ray Tune"]]
    with pytest.raises(BenchmarkError, match="No such side"):
        w8.choose("Optima", _sides.PEERS)


def test_every_side_has_its_script_and_its_pins() -> None:
    folder = Path(_sides.__file__).parent / "peers"
    for side in SIDES.values():
        assert (folder / side.script).exists(), side
        assert side.pins is None or (folder / f"{side.pins}.txt").exists(), side


def test_growth_is_measured_against_the_work() -> None:
    runs = {Size(): [_run("cerebro_nas", 30.0, 20.0)], Size(rows=2): [_run("cerebro_nas", 50.0, 36.0)]}
    rows = growth.table(runs).rows
    assert rows[0][0] == "W8"
    assert rows[1][:2] == ("rows x2", 2)
    assert rows[1][4] == "0.90"


def test_the_greedy_table_gives_the_ratio() -> None:
    runs = [_run("cerebro_nas", 40.0, utilisation=0.9, parameters=[1000]), _run("AutoKeras", 100.0, parameters=[2000])]
    assert trials.table(runs).notes == ("Time of cerebro_nas / AutoKeras: 0.400",)


def test_memory_beyond_that_of_tensorflow() -> None:
    few = [{"peak_bytes": 800e6, "shard_bytes": 1e5, "state_bytes": 1e6}]
    many = [{"peak_bytes": 830e6, "shard_bytes": 20e6, "state_bytes": 1e6}]
    table = memory.table(few, many)
    assert ("beyond it", "30.0") in table.rows
    assert table.notes == ("Beyond / bound: 0.91",)


@pytest.mark.parametrize("name", ["w8", "growth", "trials", "memory", "sched", "hop", "io", "startup", "import"])
def test_every_benchmark_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main([name, "--help"])
    assert ended.value.code == 0
    assert "usage: python -m benchmarks" in capsys.readouterr().out


def test_a_benchmark_that_cannot_run_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["w8", "--images", str(tmp_path), "--results", str(tmp_path)]) == 1
    assert "dataset-fashion-mnist" in capsys.readouterr().err


@has_images
@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "more", "check"),
    [
        ("w8", ["--repeats", "1", "--epochs", "1"], lambda plain: len(plain["tables"][0]["rows"]) == 3),
        ("trials", ["--trials", "3", "--epochs", "1"], lambda plain: len(plain["tables"][0]["rows"]) == 2),
    ],
)
def test_small_runs(name: str, more: list[str], check: Callable[[Any], bool], tmp_path: Path) -> None:
    # So few rows leave the accuracies to chance: whether they agree is not asked here.
    command_line.main([name, "--train-rows", "600", "--valid-rows", "200", "--results", str(tmp_path), *more])
    assert check(json.loads((tmp_path / f"{name}.json").read_text()))
