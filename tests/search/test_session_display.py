"""What a session shows of the ones before it."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any
from typing import cast

import keras_tuner
import pytest

from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.journal import Journal
from cerebro_nas.search import SearchPlan
from cerebro_nas.search import run_search
from cerebro_nas.testing import shard_search
from cerebro_nas.tuners import make_tuner
from cerebro_nas.worker import CandidateSpec


class FakeSpace:
    """Candidates that are nothing but a number of parameters."""

    metric_names = ("loss", "accuracy")
    features = labels = targets = classifies = ()

    def build(self, hp: keras_tuner.HyperParameters, *, trial: str, seed: int) -> CandidateSpec:
        return CandidateSpec(trial, "", {}, (), (), seed=seed, parameters=int(hp.get("units")))


def _run(directory: Path, max_trials: int) -> None:
    directory.mkdir(exist_ok=True)
    hp = keras_tuner.HyperParameters()
    hp.Int("units", 1, 1000)
    tuner = make_tuner(
        "random",
        objective="val_accuracy",
        max_trials=max_trials,
        hyperparameters=hp,
        seed=3,
        directory=str(directory / "tuner"),
    )
    search = shard_search([64, 64], [32])
    backend = SimulatedBackend(2)
    with backend, Journal.open(directory / "journal.jsonl") as journal:
        backend.start(search)
        plan = SearchPlan(
            project="digits",
            tuner_name="random",
            directory=str(directory),
            identity="id",
            description={},
            journal=journal,
            check_claim=lambda: None,
            prepared=cast("Any", types.SimpleNamespace(shards=search.shards, url="", statistics={}, fingerprint="")),
            space=cast("Any", FakeSpace()),
            backend=backend,
            batch_size=32,
            epochs=2,
            parallelism=2,
            seed=3,
            visit_order="adaptive",
            unit_timeout=None,
            rules=(),
            logdirs=(),
            verbose=2,
        )
        run_search(plan, tuner)


def test_what_an_earlier_session_finished_is_counted_and_not_shown_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(tmp_path, max_trials=3)
    first = capsys.readouterr().out
    assert "resumed" not in first
    assert first.count(" COMPLETED ") == 3
    _run(tmp_path, max_trials=5)
    second = capsys.readouterr().out
    assert second.count(" COMPLETED ") == 2
    assert second.count("search digits: ") == 1
    assert "resumed: 3/5 done" in second
    assert "Search ended: all 5 trials are done" in second


def test_a_journal_that_cannot_be_gone_through_leaves_a_display_that_was_opened_and_closed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(tmp_path, max_trials=3)
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        journal.append("nonsense", {}, 1.0)
        journal.commit()
    capsys.readouterr()
    with pytest.raises(CorruptStateError):
        _run(tmp_path, max_trials=5)
    shown = capsys.readouterr().out
    assert shown.count("search digits: ") == 1
    assert " COMPLETED " not in shown
    assert "Search did not end." in shown
