from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.errors import ConfigError
from cerebro_nas.tracking import Direction
from cerebro_nas.tracking import TrialCost
from cerebro_nas.tracking import TrialRecord
from cerebro_nas.tracking import count_outcomes
from cerebro_nas.tracking import format_leaderboard
from cerebro_nas.tracking import leaderboard
from cerebro_nas.tracking import save_leaderboard


def record(name: str, values: list[float], status: str = "COMPLETED", reason: str = "", **hp: object) -> TrialRecord:
    history = tuple({"val_accuracy": v, "loss": 1 - v} for v in values)
    cost = TrialCost(12345, 61.0, len(values), 4)
    return TrialRecord(name, status, reason, hp, history[-1] if history else {}, history, cost)


RECORDS = [
    record("a", [0.5, 0.9, 0.7], units=32, kind="conv", rate=0.1),
    record("b", [], "FAILED", "nan_loss", units=64, kind="conv", rate=0.1),
    record("c", [0.8, 0.95], kind="dense", rate=0.1, mixed="x"),
    record("d", [math.nan], units=16, kind="conv", rate=0.1, mixed=3),
    record("e", [], "REJECTED", "oversized", units=8, kind="conv", rate=0.1),
]


def test_best_first_failures_last() -> None:
    table = leaderboard(RECORDS, "val_accuracy", "max")
    assert table["trial"].tolist() == ["c", "a", "d", "b", "e"]
    assert table["score"].tolist()[:2] == [0.95, 0.9]
    assert table["metric.val_accuracy"].tolist()[:2] == [0.95, 0.9]
    assert table["best_epoch"].tolist()[:2] == [1, 1]
    assert leaderboard(RECORDS, "val_accuracy", "max", at="last")["score"].tolist()[:2] == [0.95, 0.7]
    assert leaderboard(RECORDS, "loss", "min")["trial"].tolist()[:2] == ["c", "a"]


def test_columns_and_missing_hyperparameters() -> None:
    table = leaderboard(RECORDS, "val_accuracy", "max")
    assert list(table.columns) == [
        *("trial", "score", "status", "reason"),
        *("hp.units", "hp.kind", "hp.rate", "hp.mixed"),
        *("metric.val_accuracy", "metric.loss"),
        *("cost.parameters", "cost.flops", "cost.latency_ms", "cost.seconds", "cost.epochs", "cost.units"),
        "best_epoch",
    ]
    assert table["hp.units"].isna().tolist() == [True, False, False, False, False]
    assert table["hp.units"].tolist()[1] == 32
    assert isinstance(table["hp.units"].tolist()[1], int)


scores = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.5, 0.25]))


@given(st.lists(scores, max_size=12), st.sampled_from(["min", "max"]))
@settings(max_examples=50, deadline=None)
def test_finite_scores_are_sorted_and_ties_are_stable(values: list[float], direction: Direction) -> None:
    records = [record(f"{i:02d}", [v]) for i, v in enumerate(values)]
    table = leaderboard(records, "val_accuracy", direction)
    assert sorted(table["trial"]) == [r.trial for r in records]
    finite = [(s, t) for s, t in zip(table["score"], table["trial"], strict=True) if math.isfinite(s)]
    assert finite == sorted(finite, key=lambda p: (-p[0] if direction == "max" else p[0], p[1]))
    assert [math.isfinite(s) for s in table["score"]] == [True] * len(finite) + [False] * (len(values) - len(finite))


def test_no_records() -> None:
    table = leaderboard([], "val_accuracy", "max")
    assert len(table) == 0
    assert format_leaderboard(table) == "No trial yet."


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_saved_tables_read_back(tmp_path: Path, suffix: str) -> None:
    table = leaderboard(RECORDS, "val_accuracy", "max")
    path = tmp_path / f"table{suffix}"
    save_leaderboard(table, path)
    back = pd.read_csv(path, dtype={"trial": str}) if suffix == ".csv" else pd.read_parquet(path)
    assert list(back.columns) == list(table.columns)
    assert back["trial"].tolist() == table["trial"].tolist()
    assert back["score"].tolist()[:2] == [0.95, 0.9]
    assert back["hp.mixed"].tolist()[:1] == ["x"]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_unknown_suffix_and_direction(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"table\.xlsx"):
        save_leaderboard(pd.DataFrame(), tmp_path / "table.xlsx")
    with pytest.raises(ConfigError, match="direction"):
        leaderboard([], "loss", "down")  # type: ignore[arg-type]


def test_text_drops_constant_columns_and_fits() -> None:
    table = leaderboard(RECORDS, "val_accuracy", "max")
    text = format_leaderboard(table, top=4, width=100)
    lines = text.splitlines()
    assert lines[0].split() == "# trial score status reason units kind mixed params epochs time".split()
    assert lines[1].split() == "1 c 0.9500 COMPLETED - dense x 12.3k 2 1:01".split()
    assert lines[-1] == "(1 more trial, 2 failed or rejected)"
    narrow = format_leaderboard(table, width=50)
    assert max(map(len, narrow.splitlines())) <= 50
    assert "more hyperparameters" in narrow


def test_failed_trials_are_ranked_by_what_they_reached() -> None:
    failed = [record(name, values, "FAILED", "oom") for name, values in {"a": [], "b": [0.2], "c": [0.4]}.items()]
    records = [*failed, record("d", [0.1]), record("r", [], "REJECTED"), record("e", [0.3], "FAILED")]
    assert leaderboard(records, "val_accuracy", "max")["trial"].tolist() == ["d", "c", "e", "b", "a", "r"]
    assert leaderboard(records, "val_accuracy", "min")["trial"].tolist() == ["d", "b", "e", "c", "a", "r"]


def heirs() -> list[TrialRecord]:
    sizes = {"a": (0.9, 2e6, ""), "b": (0.8, 3e6, "a"), "c": (0.7, 1e6, "b")}
    return [
        TrialRecord(name, "COMPLETED", history=({"val_accuracy": value, "flops": flops, "loss": 1.0},), parent=parent)
        for name, (value, flops, parent) in sizes.items()
    ]


def test_text_shows_every_objective_the_pareto_front_and_parents() -> None:
    table = leaderboard(heirs(), "val_accuracy", "max", others=[("flops", "min")])
    lines = [line.split() for line in format_leaderboard(table, width=100).splitlines()]
    assert lines[0][:6] == ["#", "trial", "score", "flops", "pareto", "parent"]
    assert [line[:6] for line in lines[1:]] == [
        ["1", "a", "0.9000", "2.0M", "yes", "-"],
        ["2", "b", "0.8000", "3.0M", "-", "a"],
        ["3", "c", "0.7000", "1.0M", "yes", "b"],
    ]


def test_a_candidate_is_as_quick_as_it_was_ever_seen() -> None:
    """Whichever epoch is its best: what the machine did beside it is not the candidate's."""
    good = TrialRecord(
        "good",
        "COMPLETED",
        metrics={"score": 0.8, "latency_ms": 0.2},
        history=({"score": 0.9, "latency_ms": 0.9}, {"score": 0.8, "latency_ms": 0.2}),
        cost=TrialCost(latency_ms=0.2),
    )
    other = TrialRecord(
        "other",
        "COMPLETED",
        metrics={"score": 0.7, "latency_ms": 0.5},
        history=({"score": 0.7, "latency_ms": 0.5},),
        cost=TrialCost(latency_ms=0.5),
    )
    table = leaderboard([other, good], "score", "max", others=[("latency_ms", "min")])
    assert table["trial"].tolist() == ["good", "other"]
    assert table["metric.latency_ms"].tolist() == table["cost.latency_ms"].tolist() == [0.2, 0.5]
    assert table["pareto"].tolist() == [True, False]


def test_a_metric_of_the_users_own_keeps_its_values_where_it_has_the_name_of_a_measure() -> None:
    own = {"score": 0.9, "flops": 7.0}
    trial = TrialRecord("own", "COMPLETED", metrics=own, history=(own,), cost=TrialCost(flops=1000))
    table = leaderboard([trial], "score", "max")
    assert (table["metric.flops"][0], table["cost.flops"][0]) == (7.0, 1000)


def test_text_where_nothing_has_been_measured() -> None:
    table = leaderboard([record("a", [], "FAILED", "oom")], "val_accuracy", "max", others=[("flops", "min")])
    assert format_leaderboard(table, width=100).splitlines()[1].split()[:5] == ["1", "a", "-", "-", "FAILED"]


def test_text_of_one_objective_has_no_such_columns() -> None:
    records = [record("a", [0.5]), record("b", [0.6])]
    head = format_leaderboard(leaderboard(records, "val_accuracy", "max"), width=100).splitlines()[0]
    assert head.split() == ["#", "trial", "score", "params", "epochs", "time"]


def test_objectives_of_a_table_outlive_a_file(tmp_path: Path) -> None:
    table = leaderboard(heirs(), "val_accuracy", "max", others=[("loss", "min")])
    save_leaderboard(table, tmp_path / "table.parquet")
    assert "loss" in format_leaderboard(pd.read_parquet(tmp_path / "table.parquet"), width=100).splitlines()[0]
    # CSV has no place to say which metrics were objectives.
    save_leaderboard(table, tmp_path / "table.csv")
    assert "pareto" in format_leaderboard(pd.read_csv(tmp_path / "table.csv"), width=100).splitlines()[0]


def test_text_prefers_the_hyperparameters_that_tell_most() -> None:
    records = [
        TrialRecord(
            f"{number}",
            "COMPLETED",
            hyperparameters={
                "dense_block_1/use_batchnorm": number > 2,
                "dense_block_1/activation": "relu" if number else "tanh",
                "dense_block_1/units_of_layer": 16 * number,
                "optimizer": "adam" if number else "sgd",
                "learning_rate": 0.001 if number else 0.01,
                "batch_size": 32,
            },
            metrics={"val_accuracy": 0.5},
        )
        for number in range(6)
    ]
    table = leaderboard(records, "val_accuracy", "max")

    def head(width: int) -> list[str]:
        return format_leaderboard(table, width=width).splitlines()[0].split()[3:-3]

    assert head(200) == ["use_batchnorm", "activation", "units_of_layer", "optimizer", "learning_rate"]
    assert head(80) == ["units_of_layer", "optimizer", "learning_rate"]
    assert head(66) == ["optimizer", "learning_rate"]
    assert format_leaderboard(table, width=66).splitlines()[-1] == "(3 more hyperparameters)"


def test_equal_names_keep_as_much_of_their_path_as_tells_them_apart() -> None:
    records = [
        TrialRecord("a", "COMPLETED", hyperparameters={"b1/units": 1, "b2/units": 2, "b1/rate": 0.1}),
        TrialRecord("b", "COMPLETED", hyperparameters={"b1/units": 3, "b2/units": 4, "b1/rate": 0.2}),
    ]
    head = format_leaderboard(leaderboard(records, "loss", "min"), width=120).splitlines()[0].split()
    assert head[3:6] == ["b1/units", "b2/units", "rate"]


def test_outcomes_are_counted_most_frequent_first() -> None:
    assert list(count_outcomes(RECORDS).items())[0] == (("COMPLETED", ""), 3)


def test_best_value_ignores_what_is_not_finite() -> None:
    trial = record("a", [math.nan, 0.25, 0.5])
    assert trial.best_value("loss", "min") == 0.5
    assert trial.best_value("val_accuracy", "min") == 0.25
    assert trial.best_value("absent", "min") is None
