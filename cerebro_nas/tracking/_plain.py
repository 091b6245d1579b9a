"""Plain lines: for log files, pipes and CI."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from typing import TextIO

from cerebro_nas.tracking._format import counted
from cerebro_nas.tracking._format import format_duration
from cerebro_nas.tracking._format import format_metric
from cerebro_nas.tracking._format import telling_reason
from cerebro_nas.tracking._stream import SafeStream
from cerebro_nas.tracking._view import BestTrial
from cerebro_nas.tracking._view import FinishedTrial
from cerebro_nas.tracking._view import SearchView
from cerebro_nas.tracking._view import TrialCounts

_REJECTED_SHOWN = 3


class PlainReporter:
    """Writes one line for each event that is worth one, and a heartbeat when there was none for a while.

    Where limits are tight, hundreds of candidates may be rejected: of those only the first few have lines. Trials that
    failed have none: the search tells each in a message, with what was wrong.

    Args:
        stream: where the lines go.
        heartbeat: seconds without a line after which one is written all the same.
        clock: returns seconds; for tests.
    """

    def __init__(self, stream: TextIO, heartbeat: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = SafeStream(stream)
        self._heartbeat = heartbeat
        self._clock = clock
        self._last_line = 0.0
        self._shown = 0
        self._rejected = 0
        self._best: BestTrial | None = None
        self._elapsed = 0.0

    def open(self, view: SearchView) -> None:
        """Write the title line. What finished before (a resumed search) is not repeated."""
        self._shown = len(view.finished)
        self._best = view.best
        self._elapsed = view.elapsed
        self._line(_title(view))
        if view.finished:
            self._line(f"resumed: {_progress(view)}")

    def update(self, view: SearchView) -> None:
        """Write what is new."""
        self._elapsed = view.elapsed
        new = view.finished[self._shown :]
        for index, trial in enumerate(new):
            self._finished(trial, view, new[index + 1 :])
        self._shown = max(self._shown, len(view.finished))
        if view.best is not None and _is_new(view.best, self._best):
            shown = f"  {view.best.hyperparameters}" if view.best.hyperparameters else ""
            self._line(f"new best {view.best.trial}: {view.objective}={format_metric(view.best.value)}{shown}")
            self._best = view.best
        if self._clock() - self._last_line >= self._heartbeat:
            self._line(_progress(view))

    def message(self, text: str) -> None:
        """Write `text`, each of its lines with the time."""
        for line in text.splitlines():
            self._line(line)

    def close(self, view: SearchView, summary: str) -> None:
        """Write what is new, then the summary as it is."""
        self._last_line = self._clock()
        self.update(view)
        if self._rejected > _REJECTED_SHOWN:
            self._line(f"{view.counts.rejected} trials were rejected")
        if summary:
            self._stream.write(summary.rstrip("\n") + "\n")
            self._stream.flush()

    def _finished(self, trial: FinishedTrial, view: SearchView, later: Sequence[FinishedTrial]) -> None:
        """Write a line for a trial; `later`: those in the view that ended after it."""
        if _word(trial.status) == "FAILED":
            return
        rejected = _word(trial.status) == "REJECTED"
        self._rejected += rejected
        if not rejected or self._rejected <= _REJECTED_SHOWN:
            self._line(_finished_line(trial, view, later))
        elif self._rejected == _REJECTED_SHOWN + 1:
            self._line("more trials are rejected; from here on they are only counted")

    def _line(self, text: str) -> None:
        self._stream.write(f"[{format_duration(self._elapsed):>7}] {text}\n")
        self._stream.flush()
        self._last_line = self._clock()


def _title(view: SearchView) -> str:
    workers = counted(len(view.workers), "worker")
    if view.purpose:
        return f"{view.project}: {view.purpose}, {workers}"
    limit = "no limit of trials" if view.max_trials is None else f"up to {counted(view.max_trials, 'trial')}"
    return f"search {view.project}: {view.tuner}, {view.objectives_text('maximise', 'minimise')}, {limit}, {workers}"


def _is_new(best: BestTrial, before: BestTrial | None) -> bool:
    return before is None or (best.trial, best.value) != (before.trial, before.value)


def _word(status: str) -> str:
    return str(getattr(status, "value", status))


def _finished_line(trial: FinishedTrial, view: SearchView, later: Sequence[FinishedTrial]) -> str:
    parts = [f"trial {trial.trial} {_word(trial.status)}"]
    reason = telling_reason(trial.status, trial.reason)
    if reason:
        parts.append(f"({reason})")
    if trial.value is not None:
        parts.append(f"{view.objective}={format_metric(trial.value)}")
    if trial.epochs:
        parts.append(counted(trial.epochs, "epoch"))
    if trial.seconds:
        parts.append(f"in {format_duration(trial.seconds)}")
    parts.append(f"[{_trials(view, later)}]")
    return " ".join(parts)


def _trials(view: SearchView, later: Sequence[FinishedTrial] = ()) -> str:
    """Counts as they were before the `later` trials ended; what ran at that time the view does not say."""
    counts, after = view.counts, TrialCounts.of(trial.status for trial in later)
    counts = replace(
        counts,
        done=counts.done - after.done,
        failed=counts.failed - after.failed,
        rejected=counts.rejected - after.rejected,
    )
    limit = "" if view.max_trials is None else f"/{view.max_trials}"
    parts = [f"{counts.done}{limit} done"]
    if not later:
        parts.append(f"{counts.running} running")
        parts += [f"{counts.paused} paused"] * bool(counts.paused)
    parts += [f"{counts.failed} failed"] * bool(counts.failed)
    parts += [f"{counts.rejected} rejected"] * bool(counts.rejected)
    return ", ".join(parts)


def _progress(view: SearchView) -> str:
    parts = [_trials(view)]
    if view.best is not None:
        parts.append(f"best {format_metric(view.best.value)} ({view.best.trial})")
    parts.append(f"units {view.units_done}/{view.units_known}")
    if 0 < len(view.workers) <= 8:
        parts.append(" ".join(f"{worker.worker}={worker.units_done}" for worker in view.workers))
    parts.append(f"ETA {format_duration(view.eta)}")
    return ", ".join(parts)
