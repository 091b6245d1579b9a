from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from rich.console import Console
from rich.console import ConsoleDimensions

from cerebro_nas.tracking import BestTrial
from cerebro_nas.tracking import RunningTrial
from cerebro_nas.tracking import SearchView
from cerebro_nas.tracking import TrialCounts
from cerebro_nas.tracking import WorkerView
from cerebro_nas.tracking._panel import render_view


def make_view(workers: int, trials: int, name: str = "digits") -> SearchView:
    return SearchView(
        project=name,
        tuner="greedy",
        objective="val_accuracy",
        direction="max",
        max_trials=12,
        counts=TrialCounts(running=2, waiting=1, done=4, failed=1),
        best=BestTrial("0003", 0.9712, "block_type=resnet"),
        workers=tuple(WorkerView(f"w{i}", i, 0.5, f"{i:04d}", "train", 1, f"train {i}") for i in range(workers)),
        running=tuple(RunningTrial(f"{i:04d}", 0, 3, 0.5) for i in range(trials)),
        units_done=10,
        units_known=40,
        elapsed=62,
        eta=48,
    )


def text_of(view: SearchView, width: int, height: int) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=False, _environ={})
    console.print(render_view(view, ConsoleDimensions(width, height)))
    return out.getvalue()


def test_everything_asked_for_is_there() -> None:
    text = text_of(make_view(2, 2), 80, 24)
    for piece in (
        "digits | greedy | max val_accuracy",
        "4/12 done  2 running  1 failed  1 waiting",
        "10/40  elapsed 1:02  ETA 0:48",
        "0.9712  trial 0003  block_type=resnet",
        "w1         1  50% 0001 e2 train 1",
    ):
        assert piece in text


def test_all_objectives_are_named() -> None:
    view = replace(make_view(1, 1), others=(("flops", "min"), ("latency_ms", "min")))
    assert "digits | greedy | max val_accuracy, min flops, min latency_ms" in text_of(view, 100, 24)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (44, 24), (20, 12), (12, 12)])
def test_it_fits_the_terminal_with_many_workers(width: int, height: int) -> None:
    lines = text_of(make_view(64, 128), width, height).splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_hidden_workers_are_counted() -> None:
    assert "more workers" in text_of(make_view(64, 2), 100, 24)


@given(st.text(max_size=20), st.integers(1, 200), st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_any_name_and_any_size_render(name: str, width: int, height: int) -> None:
    assert text_of(make_view(2, 2, name), width, height)


def test_names_are_not_markup() -> None:
    assert "[red]x[/red]" in text_of(make_view(1, 1, "[red]x[/red]"), 80, 24)
