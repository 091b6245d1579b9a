"""Drivers that die after the k-th record of their journal, in appearance or in fact."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.journal import Journal
from cerebro_nas.testing import DriverCrash
from cerebro_nas.testing import SimulatedCrash
from cerebro_nas.testing import crash_after


def write_five(path: str) -> None:
    """What the tests run in a process of its own."""
    with Journal.open(Path(path)) as journal:
        for number in range(5):
            journal.append("count", {"number": number}, 0.0)


def _kept(path: Path) -> list[int]:
    with Journal.open(path) as journal:
        return [record.data["number"] for record in journal.records]


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_crash_leaves_so_many_records(tmp_path: Path, after: int) -> None:
    path = tmp_path / "journal"
    with pytest.raises(SimulatedCrash, match=f"record {after} "), crash_after(after):
        write_five(str(path))
    assert _kept(path) == list(range(after))


def test_the_dead_write_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with crash_after(2):
        with pytest.raises(SimulatedCrash):
            write_five(str(path))
        with pytest.raises(SimulatedCrash, match="dead"):
            write_five(str(path))
    write_five(str(path))
    assert _kept(path) == [0, 1, *range(5)]


def test_without_so_many_records_nothing_happens(tmp_path: Path) -> None:
    append = Journal.append
    with crash_after(6):
        write_five(str(tmp_path / "journal"))
    assert Journal.append is append


def test_it_takes_a_record_to_crash() -> None:
    with pytest.raises(ConfigError, match="records=0"), crash_after(0):
        pass


@pytest.mark.case(9)
def test_a_process_is_killed_after_so_many_records(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    ended = DriverCrash(after=2).run(f"{__file__}:write_five", str(path))
    assert ended.returncode == -signal.SIGKILL, ended.stdout
    assert _kept(path) == [0, 1]
    other = tmp_path / "other"
    ended = DriverCrash(after=9).run(f"{__file__}:write_five", str(other))
    assert (ended.returncode, ended.stdout) == (0, "")
    assert _kept(other) == list(range(5))


def test_a_process_that_takes_too_long_is_ended() -> None:
    import subprocess

    with pytest.raises(subprocess.TimeoutExpired):
        DriverCrash(after=1, timeout=1.0).run("signal:pause")


def test_a_function_of_a_module_is_found(tmp_path: Path) -> None:
    ended = DriverCrash(after=1).run("os:mkdir", str(tmp_path / "made"))
    assert (ended.returncode, (tmp_path / "made").is_dir()) == (0, True)
