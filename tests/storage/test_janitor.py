"""The thread that removes states: it does what it is told, in order, and holds nobody up."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest

from cerebro_nas.errors import StoreError
from cerebro_nas.storage import Janitor
from cerebro_nas.storage import StateFiles


def test_states_are_removed(tmp_path: Path) -> None:
    states = StateFiles(str(tmp_path))
    names = [states.write("t", generation, b"x") for generation in range(1, 6)]
    janitor = Janitor(states)
    janitor.remove("t", names[:2])
    janitor.remove("t", [])
    assert janitor.close(10)
    assert states.names("t") == names[2:]
    janitor = Janitor(states)
    janitor.keep_only("t", iter(names[3:4]))
    assert janitor.close(10)
    assert states.names("t") == names[3:4]


class StuckStates(StateFiles):
    """A store that stalls until `go`, and refuses the trial `bad`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.go = threading.Event()
        self.done: list[str] = []

    def remove(self, trial: str, names: object) -> None:
        self.go.wait(10)
        if trial.startswith("bad"):
            raise StoreError(f"{trial} is out of reach")
        self.done.append(trial)


@pytest.mark.case(14)
def test_a_store_that_stalls_holds_nobody_up(tmp_path: Path) -> None:
    states = StuckStates(str(tmp_path))
    janitor = Janitor(states)
    began = time.monotonic()
    for number in range(1000):
        janitor.remove(f"t{number}", ["x"])
    assert not janitor.close(0.05)
    assert time.monotonic() - began < 2
    states.go.set()
    assert janitor.close(10)
    assert states.done == [f"t{number}" for number in range(1000)]


@pytest.mark.case(14)
def test_a_failure_is_logged_once_and_the_rest_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    states = StuckStates(str(tmp_path))
    states.go.set()
    janitor = Janitor(states)
    with caplog.at_level(logging.INFO):
        for trial in ("bad1", "good1", "bad2", "good2"):
            janitor.remove(trial, ["x"])
        assert janitor.close(10)
    assert states.done == ["good1", "good2"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "bad1 is out of reach" in caplog.text


@pytest.mark.case(35)
def test_no_thread_is_left(tmp_path: Path) -> None:
    before = threading.active_count()
    for _ in range(20):
        assert Janitor(StateFiles(str(tmp_path))).close(10)
    assert threading.active_count() == before
