from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import types
from dataclasses import replace
from typing import Any

import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.tracking import BestTrial
from cerebro_nas.tracking import FinishedTrial
from cerebro_nas.tracking import NotebookReporter
from cerebro_nas.tracking import PlainReporter
from cerebro_nas.tracking import Reporter
from cerebro_nas.tracking import SearchView
from cerebro_nas.tracking import SilentReporter
from cerebro_nas.tracking import TerminalReporter
from cerebro_nas.tracking import TrialCounts
from cerebro_nas.tracking import WorkerView
from cerebro_nas.tracking import make_reporter
from cerebro_nas.tracking._guard import GuardedReporter

VIEW = SearchView(
    project="digits",
    tuner="greedy",
    objective="val_accuracy",
    direction="max",
    max_trials=12,
    counts=TrialCounts(running=2),
    workers=(WorkerView("w0", 3, 0.9, "0001", "train", 0, "train 1"), WorkerView("w1", 2, 0.8)),
    units_done=5,
    units_known=40,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class BrokenStream(io.StringIO):
    """Fails at the n-th write, as a pipe does whose reader has gone."""

    def __init__(self, good: int, error: Exception, tty: bool = False) -> None:
        super().__init__()
        self.good = good
        self.error = error
        self.tty = tty
        self.calls = 0

    def isatty(self) -> bool:
        return self.tty

    def write(self, text: str) -> int:
        self.calls += 1
        if self.calls > self.good:
            raise self.error
        return super().write(text)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def with_trial(view: SearchView, number: int, value: float | None, status: str = "COMPLETED") -> SearchView:
    ended = FinishedTrial(f"{number:04d}", status, "" if value is not None else "nan_loss", value, 3, 12.0)
    best = view.best
    if value is not None and (best is None or value > best.value):
        best = BestTrial(ended.trial, value, "units=32")
    done = view.counts.done + (value is not None)
    counts = replace(view.counts, done=done, failed=view.counts.failed + (value is None))
    return replace(view, finished=(*view.finished, ended), best=best, counts=counts)


def drive(reporter: Reporter) -> None:
    view = VIEW
    reporter.open(view)
    for number in range(5):
        view = with_trial(view, number, 0.5 + number / 10)
        reporter.update(view)
        reporter.message("a note")
    reporter.close(view, "summary line")


def test_plain_writes_one_line_per_event_and_no_escape_codes() -> None:
    out = io.StringIO()
    reporter = PlainReporter(out, clock=Clock())
    reporter.open(VIEW)
    first = with_trial(VIEW, 0, 0.5)
    reporter.update(first)
    reporter.update(first)
    second = with_trial(with_trial(first, 1, 0.4), 2, None, "FAILED")
    reporter.update(replace(second, elapsed=61.0))
    reporter.message("Trial 0002 failed (nan_loss): the loss is not a number")
    reporter.close(second, "the summary")
    lines = out.getvalue().splitlines()
    assert lines == [
        "[   0:00] search digits: greedy, maximise val_accuracy, up to 12 trials, 2 workers",
        "[   0:00] trial 0000 COMPLETED val_accuracy=0.5000 3 epochs in 0:12 [1/12 done, 2 running]",
        "[   0:00] new best 0000: val_accuracy=0.5000  units=32",
        "[   1:01] trial 0001 COMPLETED val_accuracy=0.4000 3 epochs in 0:12 [2/12 done]",
        "[   1:01] Trial 0002 failed (nan_loss): the loss is not a number",
        "the summary",
    ]
    assert "\x1b" not in out.getvalue()


def test_plain_counts_up_where_several_trials_ended_at_once() -> None:
    out = io.StringIO()
    reporter = PlainReporter(out, clock=Clock())
    reporter.open(VIEW)
    view = VIEW
    for number, value in enumerate([0.5, None, 0.6, 0.7]):
        view = with_trial(view, number, value, "COMPLETED" if value else "FAILED")
    reporter.update(view)
    counted = [line.rpartition("[")[2] for line in out.getvalue().splitlines() if "trial 000" in line]
    assert counted == ["1/12 done]", "2/12 done, 1 failed]", "3/12 done, 2 running, 1 failed]"]


def reject(view: SearchView, count: int) -> SearchView:
    ended = tuple(FinishedTrial(f"r{number:03d}", "REJECTED", "oversized") for number in range(count))
    counts = replace(view.counts, rejected=view.counts.rejected + count)
    return replace(view, finished=view.finished + ended, counts=counts)


def test_plain_shows_some_rejected_trials_and_counts_them_all() -> None:
    out = io.StringIO()
    reporter = PlainReporter(out, clock=Clock())
    reporter.open(VIEW)
    few = reject(VIEW, 3)
    reporter.update(few)
    assert "more" not in out.getvalue()
    many = reject(few, 47)
    reporter.update(many)
    reporter.update(with_trial(many, 7, 0.5))
    reporter.close(with_trial(many, 7, 0.5), "the summary")
    assert out.getvalue().splitlines()[1:] == [
        "[   0:00] trial r000 REJECTED (oversized) [0/12 done, 1 rejected]",
        "[   0:00] trial r001 REJECTED (oversized) [0/12 done, 2 rejected]",
        "[   0:00] trial r002 REJECTED (oversized) [0/12 done, 2 running, 3 rejected]",
        "[   0:00] more trials are rejected; from here on they are only counted",
        "[   0:00] trial 0007 COMPLETED val_accuracy=0.5000 3 epochs in 0:12 [1/12 done, 2 running, 50 rejected]",
        "[   0:00] new best 0007: val_accuracy=0.5000  units=32",
        "[   0:00] 50 trials were rejected",
        "the summary",
    ]


def test_plain_names_all_objectives() -> None:
    out = io.StringIO()
    PlainReporter(out).open(replace(VIEW, others=(("flops", "min"), ("val_auc", "max"))))
    assert "greedy, maximise val_accuracy, minimise flops, maximise val_auc, up to" in out.getvalue()


def test_plain_speaks_of_one_trial_in_the_singular() -> None:
    out = io.StringIO()
    PlainReporter(out).open(replace(VIEW, max_trials=1, workers=VIEW.workers[:1]))
    assert out.getvalue().endswith("up to 1 trial, 1 worker\n")


def test_plain_says_what_is_done_where_nothing_is_compared() -> None:
    out = io.StringIO()
    PlainReporter(out).open(replace(VIEW, purpose="training again, 3 epochs"))
    assert out.getvalue().endswith("digits: training again, 3 epochs, 2 workers\n")


def test_plain_heartbeat_only_when_quiet() -> None:
    out, clock = io.StringIO(), Clock()
    reporter = PlainReporter(out, heartbeat=30, clock=clock)
    reporter.open(VIEW)
    for _ in range(100):
        clock.now += 1
        reporter.update(VIEW)
    beats = out.getvalue().splitlines()[1:]
    assert len(beats) == 3
    assert beats[0].endswith("0/12 done, 2 running, units 5/40, w0=3 w1=2, ETA -")


def test_plain_does_not_repeat_what_a_resumed_search_had_finished() -> None:
    out = io.StringIO()
    view = with_trial(VIEW, 0, 0.5)
    reporter = PlainReporter(out, clock=Clock())
    reporter.open(view)
    reporter.update(view)
    assert "trial 0000" not in out.getvalue()
    assert "resumed: 1/12 done" in out.getvalue()


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), ValueError("I/O operation on closed file")])
@pytest.mark.parametrize("good", [0, 1, 3])
def test_a_broken_stream_silences_the_display_and_is_logged_once(
    error: Exception, good: int, caplog: pytest.LogCaptureFixture
) -> None:
    for kind in (PlainReporter, TerminalReporter):
        caplog.clear()
        stream = BrokenStream(good, error, tty=True)
        out, err = sys.stdout, sys.stderr
        with caplog.at_level(logging.WARNING, "cerebro_nas"):
            drive(kind(stream))
        assert [r.message for r in caplog.records if "lost its output stream" in r.message]
        assert len(caplog.records) == 1
        assert stream.calls == good + 1
        assert (sys.stdout, sys.stderr) == (out, err)


def test_an_error_that_is_not_the_streams_surfaces() -> None:
    with pytest.raises(KeyError):
        PlainReporter(BrokenStream(0, KeyError("bug"))).open(VIEW)


def test_terminal_limits_its_rate_and_shows_the_last_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    out, clock = Terminal(), Clock()
    reporter = TerminalReporter(out, clock=clock)
    reporter.open(VIEW)
    written = len(out.getvalue())
    for _ in range(20):
        clock.now += 0.01
        reporter.update(with_trial(VIEW, 7, 0.77))
    assert len(out.getvalue()) == written
    clock.now += 0.25
    reporter.update(with_trial(VIEW, 7, 0.77))
    assert "0.7700" in out.getvalue()
    reporter.close(with_trial(VIEW, 8, 0.88), "the end")
    assert "0.8800" in out.getvalue()
    assert out.getvalue().endswith("the end\n")


def test_terminal_moves_log_handlers_and_puts_them_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setattr(sys, "stdout", out)
    handler = logging.StreamHandler(out)
    logger = logging.getLogger("test.moves")
    logger.addHandler(handler)
    try:
        reporter = TerminalReporter(out)
        reporter.open(VIEW)
        assert handler.stream is not out
        logger.warning("mind the gap")
        reporter.close(VIEW, "")
    finally:
        logger.removeHandler(handler)
    assert handler.stream is out
    assert "mind the gap" in out.getvalue()
    assert sys.stderr is out


def _chosen(verbose: Any, stream: Any = None) -> Reporter:
    reporter = make_reporter(verbose, stream)
    assert isinstance(reporter, GuardedReporter)
    return reporter.inner


def test_make_reporter_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(_chosen(0, Terminal()), SilentReporter)
    assert isinstance(_chosen(1, Terminal()), TerminalReporter)
    assert isinstance(_chosen("auto", Terminal()), TerminalReporter)
    assert isinstance(_chosen(1, io.StringIO()), PlainReporter)
    assert isinstance(_chosen(2, Terminal()), PlainReporter)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(_chosen(1, Terminal()), PlainReporter)
    closed = io.StringIO()
    closed.close()
    drive(make_reporter(1, closed))
    monkeypatch.setattr(sys, "stdout", None)
    assert isinstance(_chosen(1), SilentReporter)


def test_make_reporter_names_what_it_accepts() -> None:
    with pytest.raises(ConfigError, match="Received: verbose=3"):
        make_reporter(3)


def fake_ipython(monkeypatch: pytest.MonkeyPatch, kernel: object) -> None:
    module = types.ModuleType("IPython")
    shell = types.SimpleNamespace(kernel=kernel)
    module.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)


def test_a_kernel_gets_html_and_a_plain_ipython_shell_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ipython(monkeypatch, kernel=object())
    assert isinstance(_chosen(1), NotebookReporter)
    assert isinstance(_chosen(2), PlainReporter)
    fake_ipython(monkeypatch, kernel=None)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert isinstance(_chosen(1), PlainReporter)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_behind_stdout_is_survived() -> None:
    with open("/dev/full", "w", buffering=1, encoding="utf-8") as full:  # noqa: PTH123
        drive(make_reporter(2, full))
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # so that closing it succeeds


_GONE = """
import sys
from cerebro_nas.tracking import SearchView, TrialCounts, WorkerView, make_reporter
view = SearchView(
    project="p", tuner="greedy", objective="val_loss", direction="min", max_trials=1, counts=TrialCounts(),
    workers=(WorkerView("w0"),),
)
reporter = make_reporter(int(sys.argv[1]))
sys.stdin.readline()
reporter.open(view)
for _ in range(50):
    reporter.message("x" * 5000)
    reporter.update(view)
reporter.close(view, "summary")
print("done", file=sys.stderr)
"""


@pytest.mark.parametrize("verbose", [1, 2])
@pytest.mark.parametrize("term", ["dumb", "xterm", ""])
def test_the_reader_of_stdout_goes_away(verbose: int, term: str) -> None:
    """As when a `| head` ends, or a pane of tmux: a pipe, so no terminal, and it breaks."""
    process = subprocess.Popen(
        [sys.executable, "-c", _GONE, str(verbose)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TERM": term},
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write("go\n")
        process.stdin.close()
        said = process.stderr.read()
    assert "done" in said
    assert said.count("lost its output stream") <= 1
    assert "Traceback" not in said


@pytest.mark.parametrize("size", [(0, 0), (1, 1), (2, 80), (9, 3), (400, 2)])
def test_a_terminal_of_any_size(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(size[0]))
    monkeypatch.setenv("LINES", str(size[1]))
    drive(TerminalReporter(Terminal()))
