from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import quality
from benchmarks._errors import BenchmarkError
from benchmarks._quality_data import PROBLEMS
from benchmarks.quality import OURS
from benchmarks.quality import THEIRS
from benchmarks.quality import Search


def search(side: str, seed: int, *scores: float | None, problem: str = "digits") -> Search:
    trials: list[dict[str, Any]] = [
        {"status": "COMPLETED", "score": score, "val_loss": score, "values": {}} for score in scores
    ]
    return Search(problem, side, seed, 10.0 * seed, trials)


def by_column(table: Any) -> list[dict[str, object]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def parse(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    quality.add_arguments(parser)
    return parser.parse_args(options)


def test_the_best_of_a_search_leaves_failed_trials_out() -> None:
    found = search("x", 1, 0.5, None, 0.7, math.nan)
    assert (found.best, found.best_loss, found.failed) == (0.7, 0.5, 2)
    assert math.isnan(search("x", 1, None).best)


def test_scores_show_each_seed_and_the_medians() -> None:
    searches = [search(OURS.name, seed, 0.1, seed / 10) for seed in (1, 2, 4)] + [search(THEIRS.name, 1, 0.3)]
    ours, theirs = by_column(quality.scores(searches))
    assert [ours[f"seed {seed}"] for seed in (1, 2, 4)] == ["0.1000", "0.2000", "0.4000"]
    assert (ours["median"], ours["trials"], ours["s"]) == ("0.2000", 2, "20")
    assert (theirs["seed 1"], theirs["seed 2"]) == ("0.3000", None)


@pytest.mark.parametrize(("ours", "expected"), [(0.2, True), (0.3, True), (0.1, False)])
def test_a_verdict_compares_medians(ours: float, expected: bool) -> None:
    searches = [search(OURS.name, 1, ours), search(OURS.name, 2, 0.0), search(OURS.name, 3, 1.0)]
    searches += [search(THEIRS.name, seed, 0.2) for seed in (1, 2, 3)]
    (row,) = by_column(quality.verdicts(searches))
    assert (row["data"], row["side"], row["not lower"]) == ("digits", OURS.name, expected)


def test_there_is_no_verdict_with_one_side() -> None:
    assert quality.verdicts([search(OURS.name, 1, 0.3)]).rows == ()


def test_the_rows_are_split_always_alike_and_completely(tmp_path: Path) -> None:
    for name, rows in (("digits", 1797), ("table", 569)):
        first, second = (PROBLEMS[name].arrays(tmp_path) for _ in range(2))
        assert len(first["x"]) + len(first["x_val"]) == len(first["y"]) + len(first["y_val"]) == rows
        assert all(np.array_equal(first[key], second[key]) for key in first)
        assert len(PROBLEMS[name].arrays(tmp_path, 200)["x"]) < 200


def test_fashion_mnist_is_left_out_with_advice_where_it_is_not_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BenchmarkError, match="download_data.sh"):
        PROBLEMS["fashion"].arrays(tmp_path)
    options = ("--datasets", "fashion", "--images", str(tmp_path), "--results", str(tmp_path))
    with pytest.raises(BenchmarkError, match="No rows were found. Received: --datasets fashion"):
        quality.run(parse(*options))
    assert "is left out" in capsys.readouterr().out
    assert not list(tmp_path.iterdir()), "a table of nothing"


def test_the_sides_take_turns_to_be_first(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[int, str, list[str]]] = []

    def note(problem: Any, rows: Any, side: quality.Side, seed: int, options: list[str]) -> Search:
        ran.append((seed, side.name, options))
        return search(side.name, seed, 0.5)

    monkeypatch.setattr(quality, "_search", note)
    list(quality._searches(PROBLEMS["digits"], {}, quality.SIDES, [1, 2, 3], parse("--trials", "7")))
    firsts = [next(side for seed, side, _ in ran if seed == wanted) for wanted in (1, 2, 3)]
    assert sorted(firsts) == sorted(side.name for side in quality.SIDES)
    assert len({tuple(options) for _, _, options in ran}) == 1
    assert ran[0][2] == ["--trials", "7", "--epochs", "5", "--batch-size", "32"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_quick_run_searches_with_both_sides(tmp_path: Path) -> None:
    options = ("--quick", "--datasets", "table", "--sides", OURS.key, THEIRS.key, "--results", str(tmp_path))
    assert quality.run(parse(*options)) == 0
    scores, verdicts = json.loads((tmp_path / "quality.json").read_text())["tables"]
    assert [row[1] for row in scores["rows"]] == [OURS.name, THEIRS.name]
    assert len(verdicts["rows"]) == 1
    ours, theirs = json.loads((tmp_path / "quality-searches.json").read_text())
    for found in (ours, theirs):
        assert [trial["status"] for trial in found["trials"]] == ["COMPLETED"] * 2
        assert all(0.1 <= trial["score"] <= 1 for trial in found["trials"])
    names = [{name for trial in found["trials"] for name in trial["values"]} for found in (ours, theirs)]
    assert {"optimizer", "learning_rate", "structured_data_block_1/normalize"} <= names[0] & names[1]
