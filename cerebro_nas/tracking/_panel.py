"""A search view as a rich renderable that fits the terminal."""

from __future__ import annotations

from rich import box
from rich.console import ConsoleDimensions
from rich.console import Group
from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cerebro_nas.tracking._format import format_duration
from cerebro_nas.tracking._format import format_metric
from cerebro_nas.tracking._format import worker_place
from cerebro_nas.tracking._view import SearchView
from cerebro_nas.tracking._view import WorkerView

_SIDE_BY_SIDE = 70
_HEAD_LINES = 6


def render_view(view: SearchView, size: ConsoleDimensions, frame: box.Box = box.ROUNDED) -> RenderableType:
    """Lay out `view` for a terminal of this size: two tables side by side, or one above the other when narrow."""
    inner = max(size.width - 4, 10)
    wide = inner >= _SIDE_BY_SIDE
    rows = max(size.height - _HEAD_LINES - 3, 2)
    if not wide:
        rows = max(rows // 2 - 1, 1)
    workers = _worker_table(view, rows, phase=inner >= 40)
    trials = _trial_table(view, rows, expand=not wide)
    title = Text(" | ".join((view.project, *view.headline)), style="bold", overflow="ellipsis")
    best = [] if view.purpose else [_best_line(view)]
    parts: list[RenderableType] = [_trials_line(view, inner), _units_line(view), *best, Text("")]
    if wide:
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(ratio=3)
        grid.add_column(ratio=2)
        grid.add_row(workers, trials)
        parts.append(grid)
    else:
        parts += [workers, trials]
    return Panel(Group(*parts), title=title, title_align="left", box=frame, padding=(0, 1), width=size.width)


def _trials_line(view: SearchView, width: int) -> Text:
    counts = view.counts
    total = view.max_trials
    line = Text("trials ", style="bold", no_wrap=True, overflow="ellipsis")
    if total and width >= 60:
        length = 20
        full = min(length * counts.final // total, length)
        line.append("#" * full, style="green")
        line.append("." * (length - full) + " ", style="dim")
    line.append(f"{counts.done}" + (f"/{total}" if total else "") + " done", style="not bold")
    for number, word, style in (
        (counts.running, "running", "cyan"),
        (counts.failed, "failed", "red"),
        (counts.rejected, "rejected", "yellow"),
        (counts.waiting, "waiting", ""),
        (counts.paused, "paused", ""),
    ):
        if number or word == "running":
            line.append("  ")
            line.append(f"{number} {word}", style=f"not bold {style}")
    return line


def _units_line(view: SearchView) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append("units  ", style="bold")
    line.append(f"{view.units_done}/{view.units_known}")
    line.append("  elapsed ", style="bold")
    line.append(format_duration(view.elapsed))
    line.append("  ETA ", style="bold")
    line.append(format_duration(view.eta))
    return line


def _best_line(view: SearchView) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append("best   ", style="bold")
    if view.best is None:
        line.append("none yet", style="dim")
        return line
    line.append(format_metric(view.best.value), style="bold green")
    line.append(f"  trial {view.best.trial}")
    if view.best.hyperparameters:
        line.append(f"  {view.best.hyperparameters}", style="dim")
    return line


def _table(expand: bool) -> Table:
    return Table(box=None, padding=(0, 1, 0, 0), show_edge=False, header_style="bold", expand=expand)


def _worker_table(view: SearchView, rows: int, phase: bool) -> Table:
    table = _table(expand=True)
    table.add_column("worker", no_wrap=True)
    table.add_column("units", justify="right", no_wrap=True)
    table.add_column("busy", justify="right", no_wrap=True)
    table.add_column("now", no_wrap=True, ratio=1, overflow="ellipsis")
    shown = _fit(len(view.workers), rows)
    for worker in view.workers[:shown]:
        table.add_row(worker.worker, str(worker.units_done), f"{worker.busy_share:.0%}", _now(worker, phase))
    hidden = view.workers[shown:]
    if hidden:
        busy = sum(worker.busy_share for worker in hidden) / len(hidden)
        units = sum(worker.units_done for worker in hidden)
        table.add_row(f"+{len(hidden)}", str(units), f"{busy:.0%}", "more workers", style="dim")
    return table


def _now(worker: WorkerView, phase: bool) -> Text:
    if worker.trial is None:
        return Text("idle", style="dim")
    text = Text(worker.trial, style="cyan")
    if phase:
        text.append(f" {worker_place(worker)}", style="not bold default")
    return text


def _trial_table(view: SearchView, rows: int, expand: bool) -> Table:
    table = _table(expand)
    table.add_column("trial", no_wrap=True)
    table.add_column("epoch", justify="right", no_wrap=True)
    table.add_column(Text(view.objective), justify="right", no_wrap=True, overflow="ellipsis")
    shown = _fit(len(view.running), rows)
    for trial in view.running[:shown]:
        epochs = f"{trial.epoch + 1}/{trial.epochs}" if trial.epochs else "-"
        table.add_row(trial.trial, epochs, format_metric(trial.metric))
    if len(view.running) > shown:
        table.add_row(f"+{len(view.running) - shown} more", "", "", style="dim")
    return table


def _fit(count: int, rows: int) -> int:
    """Rows to show of `count`: all, or all but the last line, which then says how many are hidden."""
    return count if count <= rows else rows - 1
