"""The soak without its search: what is looked at, who is killed, and what counts as growth."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from benchmarks import soak
from benchmarks._soak_figures import Bound
from benchmarks._soak_figures import Growth
from benchmarks._soak_figures import growths
from benchmarks._soak_figures import slope
from benchmarks._soak_samples import Killer
from benchmarks._soak_samples import Places
from benchmarks._soak_samples import Sample
from benchmarks._soak_samples import Watcher
from benchmarks._soak_samples import count_files
from benchmarks._soak_samples import driver_values
from benchmarks._soak_samples import family_values
from benchmarks._soak_samples import workers

_THREADS = Bound("driver threads", 1.0)


def _samples(*values: float) -> list[Sample]:
    return [Sample(5.0 * n, 10 * n, {"driver threads": value}) for n, value in enumerate(values)]


def test_the_slope_is_that_of_the_line() -> None:
    assert slope([(0.0, 1.0), (10.0, 3.0), (20.0, 5.0)]) == pytest.approx(0.2)
    assert slope([(3.0, 1.0), (3.0, 9.0)]) == 0.0


def test_what_goes_up_and_down_is_flat_and_what_goes_up_is_not() -> None:
    (flat,) = growths(_samples(*[10.0, 12.0, 11.0] * 10), [_THREADS])
    assert flat.is_flat
    assert flat.first == flat.last == 11.0
    (growing,) = growths(_samples(*range(30)), [_THREADS])
    assert not growing.is_flat
    assert growing.slope == pytest.approx(10.0)
    assert growing.last > growing.first


def test_the_beginning_does_not_count() -> None:
    (growth,) = growths(_samples(1000.0, 500.0, *[10.0] * 28), [_THREADS])
    assert growth.first == 10.0
    assert growth.slope == pytest.approx(0.0)


def test_what_was_hardly_seen_is_not_judged() -> None:
    assert growths(_samples(1.0, 2.0, 3.0), [_THREADS]) == []
    assert growths([], [_THREADS]) == []


def test_a_trial_that_failed_something_that_grew_and_something_left_are_each_a_failure() -> None:
    flat, steep = Growth(_THREADS, 1.0, 1.0, 0.0), Growth(_THREADS, 1.0, 9.0, 2.0)
    good, clean = Counter(COMPLETED=7, STOPPED=1), {"workers": 0}
    assert soak.is_fine(8, good, [flat], clean)
    assert not soak.is_fine(9, good, [flat], clean)
    assert not soak.is_fine(8, Counter(COMPLETED=7, FAILED=1), [flat], clean)
    assert not soak.is_fine(8, good, [flat, steep], clean)
    assert not soak.is_fine(8, good, [flat], {"workers": 1})


def test_files_and_bytes_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(b"12345")
    assert count_files(tmp_path / "a", tmp_path / "missing") == (2, 5)


def test_a_look_tells_of_the_driver_the_store_and_temporary_files(tmp_path: Path) -> None:
    places = Places(tmp_path / "tmp", tmp_path / "search")
    (tmp_path / "tmp" / "x").mkdir(parents=True)
    for trial in ("0", "1"):
        (tmp_path / "search" / "states-abc" / trial).mkdir(parents=True)
    (tmp_path / "search" / "journal.jsonl").write_bytes(b"x" * 1000)
    sample = Watcher(places, 5.0).look()
    assert sample.trials == 2
    assert sample.values["temporary files"] == 1
    assert sample.values["journal MB"] == pytest.approx(0.001)
    assert sample.values["driver RSS MB"] > 1


def test_an_open_file_is_seen(tmp_path: Path) -> None:
    before = driver_values()["driver descriptors"]
    with (tmp_path / "x").open("w"):
        assert driver_values()["driver descriptors"] == before + 1


@pytest.fixture
def worker() -> Iterator[psutil.Process]:
    """A process that has a worker's command line, and waits."""
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, "cerebro_nas.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline()
        yield psutil.Process(child.pid)
        child.kill()


def test_a_worker_is_known_by_its_command_line_and_its_parent_is_its_supervisor(worker: psutil.Process) -> None:
    me = psutil.Process()
    assert workers([me, worker]) == [worker]
    found = family_values([me, worker])
    assert found["supervisor descriptors"] == me.num_fds()
    assert found["processes"] == 2


def test_a_killer_takes_turns_and_kills(worker: psutil.Process) -> None:
    struck: list[int] = []
    others: list[Any] = [SimpleNamespace(pid=pid, kill=lambda pid=pid: struck.append(pid)) for pid in (1, 2)]
    killer = Killer(60.0)
    for _ in range(3):
        killer.strike(others)
    killer.strike([])
    assert struck == killer.killed == [1, 2, 1]
    killer.strike([worker])
    assert worker.wait(5) is not None


def test_tables_show_what_was_found() -> None:
    samples = _samples(*range(30))
    text = soak.growth_table(growths(samples, [_THREADS]), len(samples)).markdown()
    assert "driver threads" in text
    assert "no" in text
    outcome = soak.outcome_table(8, Counter(COMPLETED=8), 12.3, [1, 2], {"workers": 0}).markdown()
    assert "workers killed" in outcome
    assert len(soak.samples_table(samples).rows) == 30


def test_what_a_search_leaves_is_counted(tmp_path: Path) -> None:
    places = soak._places(tmp_path)
    trial = places.search / "states-abc" / "0"
    trial.mkdir(parents=True)
    (trial / "state-000001-00000000.safetensors").touch()
    assert not any(soak._leftovers(places).values())
    (trial / "state-000002-00000000.safetensors").touch()
    (trial / ".tmp-1").touch()
    (places.temporary / "cerebro-nas-x").mkdir()
    assert soak._leftovers(places) == {
        "workers": 0,
        "temporary directories": 1,
        "files half written": 1,
        "states beyond the best": 1,
    }
