from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from cerebro_nas.tracking import BestTrial
from cerebro_nas.tracking import NotebookReporter
from cerebro_nas.tracking import SearchView
from cerebro_nas.tracking import TrialCounts
from cerebro_nas.tracking import WorkerView
from cerebro_nas.tracking import _notebook

VIEW = SearchView(
    project="a<b>",
    tuner="greedy",
    objective="val_accuracy",
    direction="max",
    max_trials=3,
    counts=TrialCounts(running=1, failed=1),
    best=BestTrial("0001", 0.5, "x=<script>"),
    workers=(WorkerView("w0", 3, 0.9, "0002", "train", 0, "train 1"),),
)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, str], str, bool]]:
    calls: list[tuple[dict[str, str], str, bool]] = []
    monkeypatch.setattr(_notebook, "_display", lambda bundle, key, update: calls.append((bundle, key, update)))
    return calls


def test_one_display_then_updates_of_it(shown: list[tuple[dict[str, str], str, bool]]) -> None:
    now = [0.0]
    reporter = NotebookReporter(clock=lambda: now[0])
    reporter.open(VIEW)
    reporter.update(VIEW)
    now[0] = 1.0
    reporter.message("retried")
    reporter.update(VIEW)
    reporter.close(VIEW, "the <end>")
    assert [update for _, _, update in shown] == [False, True, True]
    assert len({key for _, key, _ in shown}) == 1
    assert "retried" in shown[1][0]["text/html"]
    assert "the &lt;end&gt;" in shown[2][0]["text/html"]


def test_values_are_escaped_and_plain_text_says_something(shown: list[tuple[dict[str, str], str, bool]]) -> None:
    NotebookReporter().open(VIEW)
    bundle = shown[0][0]
    assert "<script>" not in bundle["text/html"]
    assert "a&lt;b&gt;" in bundle["text/html"]
    assert bundle["text/plain"] == (
        "a<b>: 0/3 trials done, 1 running, 1 failed, best val_accuracy 0.5000 (trial 0001), ETA -"
    )


def test_a_cell_that_is_run_again_gets_its_own_panel(shown: list[tuple[dict[str, str], str, bool]]) -> None:
    reporter = NotebookReporter()
    reporter.open(VIEW)
    reporter.open(VIEW)
    assert shown[0][1] != shown[1][1]


def test_all_objectives_are_named(shown: list[tuple[dict[str, str], str, bool]]) -> None:
    NotebookReporter().open(replace(VIEW, others=(("flops", "min"), ("a<b", "max"))))
    assert "greedy, max val_accuracy, min flops, max a&lt;b<" in shown[0][0]["text/html"]


def test_what_is_said_before_the_panel_is_there_is_in_it(shown: list[tuple[dict[str, str], str, bool]]) -> None:
    reporter = NotebookReporter()
    reporter.message("trial 3 failed while going on")
    reporter.open(VIEW)
    reporter.close(VIEW, "")
    reporter.open(VIEW)
    assert ["trial 3 failed" in bundle["text/html"] for bundle, _, _ in shown] == [True, True, False]


def test_a_closed_kernel_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def closed(*args: object) -> None:
        calls.append(args)
        raise OSError("socket closed")

    monkeypatch.setattr(_notebook, "_display", closed)
    reporter = NotebookReporter()
    reporter.open(VIEW)
    reporter.close(replace(VIEW, max_trials=None), "")
    assert len(calls) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_in_a_real_kernel() -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    code = (
        "from cerebro_nas.tracking import SearchView, make_reporter\n"
        "view = SearchView('digits', 'greedy', 'val_accuracy', 'max', 3)\n"
        "r = make_reporter(1)\nr.open(view)\nr.update(view)\nr.close(view, 'the end')"
    )
    book: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    asyncio.run(client.NotebookClient(book, timeout=60).async_execute())
    outputs = book.cells[0].outputs
    assert [output.output_type for output in outputs] == ["display_data"]
    assert "the end" in outputs[0].data["text/html"]
    assert "IPython" not in outputs[0].data["text/plain"]
