"""Fault schedules by chance on real workers: every search ends, nothing is left, and harmless faults change nothing.

`CEREBRO_NAS_CHAOS_SCHEDULES` is the number of schedules, `CEREBRO_NAS_CHAOS_SEED` the first one's seed.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING
from typing import Any

import pytest

from cerebro_nas.testing import HARMLESS
from cerebro_nas.testing import SURVIVABLE
from cerebro_nas.testing import random_plan

if TYPE_CHECKING:
    from tests.chaos.conftest import Lab

_SCHEDULES = int(os.environ.get("CEREBRO_NAS_CHAOS_SCHEDULES", "50"))
_SEED = int(os.environ.get("CEREBRO_NAS_CHAOS_SEED", "0"))
_REAL = 4
"""Of so many schedules the first are on models that are really trained."""

_LOGGER = logging.getLogger(__name__)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(60 + 60 * _SCHEDULES)]

_TRIALS, _EPOCHS = 4, 2
_JOB: dict[str, Any] = {"trials": _TRIALS, "epochs": _EPOCHS, "workers": 2}


def _part(rows: dict[str, dict[str, str]], trials: set[str], names: list[str]) -> dict[str, dict[str, str]]:
    return {trial: {name: rows[trial][name] for name in names} for trial in trials}


@pytest.mark.case(1, 2, 12, 13, 14, 35)
@pytest.mark.parametrize("engine", ["real", "chain"])
def test_every_search_ends(lab: Lab, engine: str) -> None:
    count = min(_REAL, _SCHEDULES) if engine == "real" else max(0, _SCHEDULES - _REAL)
    job = {**_JOB, "engine": engine}
    rows = {row["trial"]: row for row in lab.run("whole", **job).rows()}
    began, slowest, same = time.monotonic(), 0.0, 0
    for number in range(count):
        seed = _SEED + number
        kinds = HARMLESS if number % 2 else SURVIVABLE
        plan = random_plan(seed, 2, [str(trial) for trial in range(_TRIALS)], epochs=_EPOCHS, seconds=0.3, kinds=kinds)
        told = f"{engine} schedule {seed}: {plan.to_json()}"
        start = time.monotonic()
        run = lab.start(f"s{seed}", plan=plan, **job)
        assert run.wait(100) == 0, f"{told}\n{run.output()[-3000:]}"
        slowest = max(slowest, time.monotonic() - start)
        found = {row["trial"]: row for row in run.rows()}
        assert run.left() == [], told
        assert {row["status"] for row in found.values()} <= {"COMPLETED", "FAILED", "REJECTED"}, told
        assert set(found) == set(rows), told
        done = {trial for trial, row in found.items() if row["status"] != "FAILED"}
        # What did not fail is as it would have been, whatever befell it or its neighbours; but a training metric that
        # a fault turned into no number stays none.
        names = [n for n in rows["0"] if kinds is HARMLESS or n not in ("metric.loss", "metric.accuracy")]
        assert _part(found, done, names) == _part(rows, done, names), told
        if kinds is HARMLESS:
            assert {found[t]["reason"] for t in set(found) - done} <= {"worker_lost"}, told
            same += len(done) == len(found)
    seconds = time.monotonic() - began
    _LOGGER.info("%s: %d schedules in %.0f s, slowest %.1f s, %d without loss", engine, count, seconds, slowest, same)
