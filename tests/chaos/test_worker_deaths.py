"""Workers that die, in searches with real workers: the results are those of a search in which none died."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from typing import Any

import pytest

from cerebro_nas.testing import Delay
from cerebro_nas.testing import Fault
from cerebro_nas.testing import FaultPlan
from cerebro_nas.testing import Kill

if TYPE_CHECKING:
    from tests.chaos.conftest import Lab

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

_KILLS: list[Fault] = [
    Kill(at="before_unit", trial="0", epoch=0, phase="train", nth=2),
    Kill(at="in_unit", trial="1", epoch=1, phase="train"),
    Kill(at="after_unit", trial="2", epoch=0, phase="train", nth=2),
    Kill(at="before_commit", trial="0", epoch=1, phase="train"),
]


def _deaths(records: list[dict[str, Any]]) -> int:
    lost = [r["data"] for r in records if r["kind"] == "event" and r["data"]["type"] == "WorkerLost"]
    return sum("SIGKILL" in event["reason"] for event in lost)


@pytest.mark.case(1, 2)
def test_models_that_are_really_trained_come_out_the_same(lab: Lab) -> None:
    job: dict[str, Any] = {"engine": "real", "trials": 3, "epochs": 2}
    whole = lab.run("whole", **job)
    run = lab.run("killed", plan=FaultPlan(_KILLS), **job)
    assert _deaths(run.records()) == len(_KILLS)
    assert run.rows() == whole.rows()
    assert {row["status"] for row in run.rows()} == {"COMPLETED"}
    assert run.left() == []


@pytest.mark.case(1, 2)
@pytest.mark.parametrize("kill", _KILLS, ids=lambda kill: kill.at)
def test_each_death_alone(lab: Lab, kill: Fault) -> None:
    job: dict[str, Any] = {"trials": 4, "epochs": 3}
    rows = lab.run("whole", **job).rows()
    run = lab.run("killed", plan=FaultPlan([kill]), **job)
    assert _deaths(run.records()) == 1
    assert run.rows() == rows
    assert run.left() == []


@pytest.mark.case(4)
def test_a_trial_that_kills_every_worker_fails_alone(lab: Lab) -> None:
    job: dict[str, Any] = {"trials": 4, "epochs": 2}
    good = {row["trial"]: row for row in lab.run("whole", **job).rows()}
    run = lab.run("poisoned", poison=1, **job)
    rows = {row["trial"]: row for row in run.rows()}
    assert (rows["1"]["status"], rows["1"]["reason"]) == ("FAILED", "worker_lost")
    assert {trial: row for trial, row in rows.items() if trial != "1"} == {t: r for t, r in good.items() if t != "1"}
    # One more than a trial may cost.
    assert _deaths(run.records()) == 3
    assert run.left() == []


@pytest.mark.case(6)
@pytest.mark.parametrize(("back", "patience"), [(None, 60.0), (1000.0, 3.0)], ids=["for-good", "for-long"])
def test_all_workers_lost(lab: Lab, back: float | None, patience: float) -> None:
    job: dict[str, Any] = {"trials": 4, "epochs": 2}
    rows = lab.run("whole", **job).rows()
    kills = [Kill(worker, 1.5, back_after=back) for worker in ("w0", "w1")]
    plan = FaultPlan([*kills, Delay(seconds=0.4, times=99)])
    run = lab.start(plan=plan, no_workers_timeout=patience, verbose=1, **job)
    assert run.wait(60) == 1, run.output()
    told = {
        None: r"WorkerLostError: No worker could be kept running.* is kept: mend the cause and run the search again",
        1000.0: r"SearchAborted: For \d+ s there were fewer than 1 workers.* call `fit` again .* to go on",
    }
    assert re.search(told[back], run.output())
    assert run.left(ended=False) == []
    assert 0 < len([record for record in run.records() if record["kind"] == "run"]) < 32
    assert lab.run(**job).rows() == rows
