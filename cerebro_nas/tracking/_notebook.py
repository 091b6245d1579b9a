"""The panel of a notebook."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable
from html import escape
from typing import Any

from cerebro_nas.tracking._format import format_duration
from cerebro_nas.tracking._format import format_metric
from cerebro_nas.tracking._format import worker_place
from cerebro_nas.tracking._view import SearchView

_LOGGER = logging.getLogger(__name__)
_KEPT_MESSAGES = 8
_CELL = "padding:1px 10px 1px 0;text-align:left"


class NotebookReporter:
    """One HTML panel that is updated in place.

    Each display also carries plain text, so that a front end without HTML shows a line that says something.

    Args:
        rate: updates per second at most.
        clock: returns seconds; for tests.
    """

    def __init__(self, rate: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = 1.0 / rate
        self._clock = clock
        self._drawn = float("-inf")
        self._id = uuid.uuid4().hex
        self._messages: deque[str] = deque(maxlen=_KEPT_MESSAGES)
        self._dead = False

    def open(self, view: SearchView) -> None:
        """Display the panel."""
        self._id = uuid.uuid4().hex  # a cell that is run again gets a panel of its own
        self._publish(self._bundle(view, ""), update=False)

    def update(self, view: SearchView) -> None:
        """Update the panel unless the last drawing is too young."""
        if self._clock() - self._drawn >= self._period:
            self._publish(self._bundle(view, ""), update=True)

    def message(self, text: str) -> None:
        """Keep `text` for the foot of the panel; the next update shows it."""
        self._messages.append(text)

    def close(self, view: SearchView, summary: str) -> None:
        """Update the panel for the last time, with the summary in it."""
        self._publish(self._bundle(view, summary), update=True)
        self._messages.clear()

    def _bundle(self, view: SearchView, summary: str) -> dict[str, str]:
        notes = "".join(f"<div>{escape(text)}</div>" for text in self._messages)
        if summary:
            notes += f"<pre style='margin:6px 0 0 0'>{escape(summary.rstrip())}</pre>"
        plain = view_text(view)
        return {
            "text/html": f"<div>{view_html(view)}{notes}</div>",
            "text/plain": f"{plain}\n{summary}".rstrip(),
        }

    def _publish(self, bundle: dict[str, str], update: bool) -> None:
        if self._dead:
            return
        self._drawn = self._clock()
        try:
            _display(bundle, self._id, update)
        except (OSError, ValueError) as error:  # the kernel's socket or its stand-in stream is closed
            self._dead = True
            _LOGGER.warning("The notebook display is gone (%s); the search goes on silently.", error)


def _display(bundle: dict[str, str], display_id: str, update: bool) -> None:
    from IPython.display import display
    from IPython.display import update_display

    show: Any = update_display if update else display  # untyped in IPython
    show(bundle, raw=True, display_id=display_id)


def view_text(view: SearchView) -> str:
    """One line about the search."""
    best = "none yet" if view.best is None else f"{format_metric(view.best.value)} (trial {view.best.trial})"
    best = "" if view.purpose else f"best {view.objective} {best}, "
    limit = "" if view.max_trials is None else f"/{view.max_trials}"
    return (
        f"{view.project}: {view.counts.done}{limit} trials done, {view.counts.running} running, "
        f"{view.counts.failed} failed, {best}ETA {format_duration(view.eta)}"
    )


def view_html(view: SearchView) -> str:
    """The search as HTML without scripts or styles of its own, so that it suits light and dark themes."""
    counts = view.counts
    total = view.max_trials
    best = "none yet"
    if view.best is not None:
        value = escape(format_metric(view.best.value))
        best = f"<b>{value}</b> trial {escape(view.best.trial)} <small>{escape(view.best.hyperparameters)}</small>"
    share = f"{counts.done}/{total}" if total else str(counts.done)
    bar = f"<progress max='{total}' value='{min(counts.final, total)}'></progress> " if total else ""
    said = ((counts.waiting, "waiting"), (counts.paused, "paused"), (counts.failed, "failed"))
    extras = [f"{n} {word}" for n, word in said if n]
    extras += [f"{counts.rejected} rejected"] if counts.rejected else []
    lines = [
        f"<b>{escape(view.project)}</b> {escape(', '.join(view.headline))}",
        f"{bar}{share} done, {counts.running} running" + "".join(f", {extra}" for extra in extras),
        *([] if view.purpose else [f"best {best}"]),
        f"units {view.units_done}/{view.units_known}, elapsed {format_duration(view.elapsed)}, "
        f"ETA {format_duration(view.eta)}",
    ]
    head = "".join(f"<div>{line}</div>" for line in lines)
    tables = _workers_html(view) + _trials_html(view)
    return f"{head}<div style='display:flex;gap:32px;align-items:flex-start'>{tables}</div>"


def _workers_html(view: SearchView) -> str:
    rows = []
    for worker in view.workers:
        now = "idle" if worker.trial is None else f"{worker.trial} {worker_place(worker)}"
        rows.append([worker.worker, str(worker.units_done), f"{worker.busy_share:.0%}", now])
    return _table_html(["worker", "units", "busy", "now"], rows)


def _trials_html(view: SearchView) -> str:
    rows = [
        [trial.trial, f"{trial.epoch + 1}/{trial.epochs}" if trial.epochs else "-", format_metric(trial.metric)]
        for trial in view.running
    ]
    return _table_html(["trial", "epoch", view.objective], rows)


def _table_html(head: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    first = "".join(f"<th style='{_CELL}'>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td style='{_CELL}'>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table style='border:none;margin:4px 0'><tr>{first}</tr>{body}</table>"
