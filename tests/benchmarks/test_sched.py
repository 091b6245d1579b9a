"""The benchmark of the scheduler, on few and small instances."""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from typing import TYPE_CHECKING

import pytest

from benchmarks import sched
from benchmarks._errors import BenchmarkError
from benchmarks._sched_cases import Candidate
from benchmarks._sched_cases import Case
from benchmarks._sched_cases import LogNormal
from benchmarks._sched_cases import Measured
from benchmarks._sched_cases import simulate
from benchmarks._sched_growth import grow
from benchmarks._sched_quality import Barrier
from benchmarks._sched_quality import Nearness
from benchmarks._sched_quality import barrier
from benchmarks._sched_quality import epoch_synchronous
from benchmarks._sched_quality import nearness

if TYPE_CHECKING:
    from pathlib import Path


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    sched.add_arguments(parser)
    return parser.parse_args(words)


def write_log(path: Path, outcome: str = "done") -> str:
    entries = [
        {"trial": trial, "phase": phase, "busy_seconds": seconds, "outcome": outcome}
        for trial, phase, seconds in [
            ("a", "train", 2.0),
            ("a", "train", 4.0),
            ("a", "evaluate", 1.0),
            ("b", "train", 5),
        ]
    ]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return str(path)


def test_unit_times_come_from_the_log_of_a_search(tmp_path: Path) -> None:
    source = Measured(write_log(tmp_path / "schedule.jsonl"))
    drawn = source.draw(random.Random(0), 5, sigma=1.0)
    assert len(drawn) == 5
    assert set(drawn) == {Candidate(3.0, 1.0), Candidate(5.0, 0.5)}
    assert {drawn.count(candidate) for candidate in drawn} <= {2, 3}


def test_a_log_without_units_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="--log"):
        Measured(write_log(tmp_path / "schedule.jsonl", outcome="lost"))


def test_the_bound_is_met_by_one_worker_and_beaten_by_none() -> None:
    candidates = LogNormal().draw(random.Random(3), 5, 1.0)
    alone = Case(1, 5, 2, shards=3)
    assert simulate(alone, candidates).makespan == pytest.approx(alone.bound(candidates))
    several = Case(3, 5, 2)
    assert simulate(several, candidates).makespan >= several.bound(candidates) * (1 - 1e-9)


def test_a_barrier_waits_for_the_slowest_in_each_epoch() -> None:
    case = Case(2, 2, epochs=3, shards=1)
    # In each epoch the first takes 11 s in turn and the second 2 s beside it.
    assert epoch_synchronous(case, [Candidate(10.0, 1.0), Candidate(1.0, 1.0)]) == pytest.approx(33.0)


def test_schedules_are_near_the_bound() -> None:
    found = nearness(4, 8, 0.0, 12, LogNormal())
    # Observed over 200 instances: mean 1.007, largest 1.064.
    assert 1.0 <= found.mean <= 1.02
    assert found.worst <= 1.10


def test_no_barrier_is_worth_much() -> None:
    found = barrier(8, 16, 64, epochs=1, instances=2, source=LogNormal())
    assert found.throughput >= 1.4
    assert found.synchronous < found.asynchronous <= found.bound + 1e-9


def test_growth_counts_units_and_decisions() -> None:
    found = grow(Case(4, live=8, epochs=2), 10)
    assert found.units == 10 * 2 * 5
    assert 0 < found.median_us <= found.slow_us
    assert found.scheduler_seconds <= found.driver_seconds


def test_missed_bars_are_named() -> None:
    good = Nearness(4, 8, 0.0, 20, 1.01, 1.05, 1.0, 1.0)
    rows = [good, dataclasses.replace(good, worst=1.2), dataclasses.replace(good, worst=1.2, fetch=0.1)]
    assert len(sched.missed_bars(sched.Report("", (), rows))) == 1
    slow = Barrier(8, 16, 64, 3, 1, 0.5, 0.6, 1.0, 1.2, 1.2)
    assert sched.missed_bars(sched.Report("", (), [slow])) == ["8 x 16: throughput 1.20"]


def test_tables_are_printed_and_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write_log(tmp_path / "schedule.jsonl")
    code = sched.run(arguments("--quick", "--part", "bound", "--log", log, "--out", str(tmp_path / "out")))
    (saved,) = json.loads((tmp_path / "out" / "sched-bound.json").read_text())["tables"]
    assert [row[saved["columns"].index("candidates")] for row in saved["rows"]] == [8, 16]
    said = capsys.readouterr().out
    assert "unit times: measured" in said
    assert code == ("BAR MISSED" in said)
