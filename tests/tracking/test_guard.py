"""A display or a logger that raises is switched off; the search goes on."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from cerebro_nas.tracking import SearchView
from cerebro_nas.tracking import SilentReporter
from cerebro_nas.tracking import TensorBoardLogger
from cerebro_nas.tracking import TerminalReporter
from cerebro_nas.tracking import TrialCounts
from cerebro_nas.tracking import WorkerView
from cerebro_nas.tracking import _terminal
from cerebro_nas.tracking._guard import Guard
from cerebro_nas.tracking._guard import GuardedReporter

VIEW = SearchView(
    project="p",
    tuner="greedy",
    objective="val_loss",
    direction="min",
    max_trials=2,
    counts=TrialCounts(),
    workers=(WorkerView("w0"),),
)


class Raising(SilentReporter):
    """Raises in one of its methods, and counts all calls."""

    def __init__(self, where: str, error: BaseException) -> None:
        self.where = where
        self.error = error
        self.calls: list[str] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name == self.where:
            raise self.error

    def open(self, view: SearchView) -> None:
        self._called("open")

    def update(self, view: SearchView) -> None:
        self._called("update")

    def message(self, text: str) -> None:
        self._called("message")

    def close(self, view: SearchView, summary: str) -> None:
        self._called("close")


def _drive(inner: Raising) -> None:
    reporter = GuardedReporter(inner)
    reporter.open(VIEW)
    for _ in range(3):
        reporter.update(VIEW)
        reporter.message("a note")
    reporter.close(VIEW, "the end")


@pytest.mark.parametrize("where", ["open", "update", "message", "close"])
@pytest.mark.parametrize("error", [KeyError("bug"), RuntimeError("gone"), UnicodeError("text"), RecursionError()])
def test_an_error_is_logged_once_and_nothing_is_called_after_it(
    where: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    inner = Raising(where, error)
    with caplog.at_level(logging.WARNING, "cerebro_nas"):
        _drive(inner)
    (record,) = caplog.records
    assert "The progress display (Raising) failed and is switched off" in record.message
    assert type(error).__name__ in record.message
    assert record.exc_info is not None
    # Once more to be cleaned up, and no more.
    assert inner.calls[inner.calls.index(where) + 1 :] == ["close"]


def test_without_an_error_every_call_arrives() -> None:
    inner = Raising("nowhere", KeyError())
    _drive(inner)
    assert inner.calls == ["open", *["update", "message"] * 3, "close"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_an_interrupt_passes(error: BaseException) -> None:
    reporter = GuardedReporter(Raising("update", error))
    reporter.open(VIEW)
    with pytest.raises(type(error)):
        reporter.update(VIEW)


def test_a_cleanup_that_fails_too_is_borne(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("again")

    guard = Guard("It", fail)
    guard.run(fail)
    assert guard.broken
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_live_display_that_breaks_gives_the_streams_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    reporter = GuardedReporter(TerminalReporter(sys.__stdout__ or sys.stdout, rate=1e9))
    before = (sys.stdout, sys.stderr)
    reporter.open(VIEW)

    def broken(*_: Any) -> None:
        raise KeyError("a bug in the drawing")

    monkeypatch.setattr(_terminal, "render_view", broken)
    reporter.update(VIEW)
    assert (sys.stdout, sys.stderr) == before
    reporter.close(VIEW, "the end")


# --- TensorBoard ------------------------------------------------------------------------------------------------------


def _log(logdir: Path) -> None:
    with TensorBoardLogger(logdir) as logger:
        for trial in ("1", "2"):
            logger.trial_started(trial, {"x": 1})
            logger.epoch_finished(trial, 0, {"loss": 1.0})
            logger.trial_finished(trial)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_log_directory_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "cerebro_nas"):
        _log(tmp_path / "file" / "logs")
    (record,) = caplog.records
    assert "The log for TensorBoard in" in record.message


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_disk_that_is_full(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from cerebro_nas.tracking import _tensorboard

    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    monkeypatch.setattr(_tensorboard, "_create_new", lambda directory, stem: full.open("wb", buffering=0))
    with caplog.at_level(logging.WARNING, "cerebro_nas"):
        _log(tmp_path)
    (record,) = caplog.records
    assert "No space left" in record.message


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_values_that_it_cannot_hold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("tensorboard")
    values: Any = {"loss": "text"}
    with caplog.at_level(logging.WARNING, "cerebro_nas"), TensorBoardLogger(tmp_path) as logger:
        logger.trial_started("1", {"x": 1})
        logger.epoch_finished("1", 0, values)
        logger.epoch_finished("1", 1, {"loss": 1.0})
    assert len(caplog.records) == 1
