"""The schedule as a picture: one row per worker, one bar per unit, one colour per trial. Pure SVG text."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from cerebro_nas.tracking._format import counted
from cerebro_nas.tracking._format import format_duration

if TYPE_CHECKING:
    from cerebro_nas.hopper import ScheduleEntry

_LEFT, _RIGHT, _TOP = 70, 20, 40
_ROW, _BAR = 34, 24
_LEGEND_MAX = 40
_STYLE = """
  svg { font: 12px system-ui, sans-serif; }
  .page { fill: #ffffff; } .ink { fill: #24292f; } .quiet { fill: #57606a; } .label { fill: #14181d; }
  .grid { stroke: #d0d7de; } .lane { fill: #f3f5f7; }
  .bad { fill: none; stroke: #cf222e; stroke-width: 2; stroke-dasharray: 4 2; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; } .ink { fill: #e6edf3; } .quiet { fill: #8d96a0; }
    .grid { stroke: #30363d; } .lane { fill: #161b22; } .bad { stroke: #ff7b72; }
  }
"""


def plot_timeline(log: Iterable[ScheduleEntry], path: str | os.PathLike[str], width: int = 1000) -> None:
    """Draw the schedule log as an SVG file.

    A full bar is training, a pale one evaluation; a dashed red outline marks a unit that failed or was lost. Pointing
    at a bar shows what it is.
    """
    Path(path).write_text(timeline_svg(log, width), encoding="utf-8")


def timeline_svg(log: Iterable[ScheduleEntry], width: int = 1000) -> str:
    """The SVG text that `plot_timeline` writes."""
    entries = list(log)
    workers = sorted({entry.worker for entry in entries}, key=_natural)
    trials = sorted({entry.unit.trial for entry in entries}, key=_natural)
    colours = {trial: _colour(index) for index, trial in enumerate(trials)}
    start = min((entry.started for entry in entries), default=0.0)
    span = max((entry.finished for entry in entries), default=1.0) - start or 1.0
    scale = (width - _LEFT - _RIGHT) / span
    floor = _TOP + _ROW * max(len(workers), 1)
    legend, legend_height = _legend(colours, floor + 40, width)
    height = floor + 44 + legend_height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        f'<text class="ink" x="{_LEFT}" y="22" font-weight="600">{counted(len(entries), "unit")} of '
        f"{counted(len(trials), 'trial')} on {counted(len(workers), 'worker')} in "
        f"{format_duration(span if entries else 0.0)}</text>",
    ]
    parts += _lanes(workers, width)
    parts += _ticks(span, scale, floor)
    parts += [_bar(e, start, scale, _TOP + _ROW * workers.index(e.worker), colours[e.unit.trial]) for e in entries]
    return "\n".join([*parts, *legend, "</svg>", ""])


def _lanes(workers: list[str], width: int) -> list[str]:
    parts = []
    for row, worker in enumerate(workers):
        top = _TOP + _ROW * row
        middle = top + _ROW // 2 + 4
        lane = (_ROW - _BAR) // 2
        parts.append(f'<text class="ink" x="{_LEFT - 10}" y="{middle}" text-anchor="end">{escape(worker)}</text>')
        parts.append(
            f'<rect class="lane" x="{_LEFT}" y="{top + lane}" width="{width - _LEFT - _RIGHT}" height="{_BAR}"/>'
        )
    return parts


def _ticks(span: float, scale: float, floor: int) -> list[str]:
    parts = []
    step = _nice_step(span / 8)
    for index in range(int(span / step) + 1):
        x = _LEFT + index * step * scale
        label = f"{index * step:g} s" if span < 120 else format_duration(index * step)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{floor + 5}"/>')
        parts.append(f'<text class="quiet" x="{x:.1f}" y="{floor + 20}" text-anchor="middle">{label}</text>')
    return parts


def _bar(entry: ScheduleEntry, start: float, scale: float, top: int, colour: str) -> str:
    unit = entry.unit
    x = _LEFT + (entry.started - start) * scale
    length = max((entry.finished - entry.started) * scale, 1.0)
    y = top + (_ROW - _BAR) // 2
    place = "" if unit.shard is None else f" on {unit.shard.split} {unit.shard.index}"
    seconds = entry.finished - entry.started
    title = escape(f"trial {unit.trial}: {unit.phase} epoch {unit.epoch + 1}{place}, {seconds:.2f} s, {entry.outcome}")
    box = f'x="{x:.2f}" y="{y}" width="{length:.2f}" height="{_BAR}"'
    pale = ' fill-opacity="0.45"' if unit.phase == "evaluate" else ""
    bar = f'<rect {box} rx="{2 if length > 6 else 0}" fill="{colour}"{pale}/>'
    if entry.outcome != "done":
        bar = f'<rect {box} fill="{colour}" fill-opacity="0.2"/><rect class="bad" {box}/>'
    if length > 7 * len(unit.trial) + 8:
        # Dark on a full bar in either theme; a pale bar lets the page through and takes the page's ink.
        kind = "label" if entry.outcome == "done" and not pale else "ink"
        middle = f'x="{x + length / 2:.2f}" y="{y + 16}" text-anchor="middle"'
        bar += f'<text {middle} class="{kind}">{escape(unit.trial)}</text>'
    return f"<g><title>{title}</title>{bar}</g>"


def _legend(colours: dict[str, str], top: int, width: int) -> tuple[list[str], int]:
    cell = max([7 * len(trial) + 32 for trial in colours], default=80)
    per_row = max((width - _LEFT - _RIGHT) // cell, 1)
    parts = []
    shown = list(colours.items())[:_LEGEND_MAX]
    for index, (trial, colour) in enumerate(shown):
        x = _LEFT + cell * (index % per_row)
        y = top + 18 * (index // per_row)
        parts.append(f'<rect x="{x}" y="{y}" width="12" height="12" rx="2" fill="{colour}"/>')
        parts.append(f'<text class="ink" x="{x + 18}" y="{y + 10}">{escape(trial)}</text>')
    rows = math.ceil(len(shown) / per_row)
    note = "pale: evaluation; dashed red: failed or lost"
    if len(colours) > len(shown):
        note = f"and {counted(len(colours) - len(shown), 'more trial')}; {note}"
    parts.append(f'<text class="quiet" x="{_LEFT}" y="{top + 18 * rows + 12}">{note}</text>')
    return parts, 18 * rows + 24


def _colour(index: int) -> str:
    """Colours that stay apart however many there are: the hue walks by the golden angle."""
    return f"hsl({(index * 137.508 + 210) % 360:.0f} 62% {72 if index % 2 else 64}%)"


def _nice_step(rough: float) -> float:
    unit: float = 10.0 ** math.floor(math.log10(max(rough, 1e-9)))
    return next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * (1 - 1e-9))


def _natural(name: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]
