"""Records whose checksum is right and that make no sense all the same: refused in our own words, nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras_tuner
import pytest

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.journal import Record
from cerebro_nas.search import Books
from cerebro_nas.search import Ledger
from cerebro_nas.search import replay
from cerebro_nas.search._trials import NewTrial
from cerebro_nas.tuners import make_tuner

_SESSION = ("session", {"limits": {"max_trials": 3, "epochs": 2, "budgets": {}}, "parallelism": 4})
_VALUES = {"units": 5}


def _replay(directory: Path, *rows: tuple[str, dict[str, Any]]) -> None:
    space = keras_tuner.HyperParameters()
    space.Int("units", 1, 1000)
    tuner = make_tuner(
        "random", objective="val_accuracy", max_trials=3, hyperparameters=space, seed=7, directory=str(directory)
    )
    books = Books(
        project="p",
        tuner="random",
        objectives=[("val_accuracy", "max")],
        max_trials=3,
        epochs=2,
        num_workers=1,
    )
    hopper = Hopper([ShardInfo(Shard("train", 0), 8, 80), ShardInfo(Shard("valid", 0), 8, 80)], num_workers=1)
    replay(Ledger(hopper, tuner, books), [Record(seq, 0.0, kind, data) for seq, (kind, data) in enumerate(rows, 1)])


def _trial(name: str) -> tuple[str, dict[str, Any]]:
    plan = TrialPlan(name, 2, 1.0)
    return "trial", NewTrial(plan, _VALUES, parameters=9, flops=8, digest="00").to_data()


def _rejected(name: str) -> tuple[str, dict[str, Any]]:
    return "rejected", {"trial": name, "values": _VALUES, "reason": "oversized", "message": "m"}


_ASKED = ("event", {"type": "WorkerJoined", "worker": "w0", "attempt": 0})


@pytest.mark.case(25)
@pytest.mark.parametrize("name", ["../../../../outside", "x/../../../../outside", "\ud800", "", "a" * 5000])
@pytest.mark.parametrize("row", [_trial, _rejected])
def test_a_trial_whose_name_leads_elsewhere_is_refused_and_nothing_is_written(
    tmp_path: Path, row: Any, name: str
) -> None:
    with pytest.raises(CorruptStateError, match="record 3"):
        _replay(tmp_path / "a" / "b", _SESSION, _ASKED, row(name))
    assert not list(tmp_path.rglob("*outside*"))


@pytest.mark.case(11)
@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([("session", {"limits": {"max_trials": "many", "epochs": 2}, "parallelism": 4})], id="limit"),
        pytest.param(
            [("session", {"limits": {"max_trials": 10**300, "epochs": 2}, "parallelism": 4}), _ASKED, _rejected("0")],
            id="endless",
        ),
        pytest.param([_SESSION, _ASKED, _rejected("1"), _rejected("0")], id="other names"),
        pytest.param([_SESSION, _ASKED, ("trial", {**_trial("0")[1], "values": {"units": "\ud800"}})], id="no text"),
    ],
)
def test_a_record_that_makes_no_sense_to_the_tuner_is_refused(
    tmp_path: Path, rows: list[tuple[str, dict[str, Any]]]
) -> None:
    with pytest.raises(CorruptStateError, match="The journal"):
        _replay(tmp_path, *rows)
