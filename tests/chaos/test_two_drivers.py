"""Two drivers on one search."""

from __future__ import annotations

import re
import signal
import time
from typing import TYPE_CHECKING
from typing import Any

import pytest

if TYPE_CHECKING:
    from tests.chaos.conftest import Lab

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

_JOB: dict[str, Any] = {"trials": 4, "epochs": 2, "unit_seconds": 0.1}


@pytest.mark.case(27)
def test_the_second_fails_at_once_and_takes_over_when_the_first_is_dead(lab: Lab) -> None:
    rows = lab.run("whole", **_JOB).rows()
    # It must not be done before it is killed, however slow the second one is to come.
    long = {**_JOB, "unit_seconds": 1.0}
    first = lab.start(**long)
    first.until(lambda records: len(records) >= 4)
    began = time.monotonic()
    second = lab.start(**long)
    assert second.wait() == 1
    assert time.monotonic() - began < 5
    message = second.output().strip().splitlines()[-1]
    assert re.search(rf"LockedError: .* is held by process {first.pid} on host '.+' since '20.+'", message)
    assert second.left(ended=False) == [f"file {path.name}" for path in lab.scratch.iterdir()]
    first.kill(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    third = lab.run(**long)
    assert f"was held by process {first.pid}" in third.output()
    assert third.rows() == rows
    assert third.left() == []


@pytest.mark.case(27)
def test_one_that_was_frozen_goes_on_where_nobody_took_its_place(lab: Lab) -> None:
    rows = lab.run("whole", **_JOB).rows()
    first = lab.start(**_JOB)
    first.until(lambda records: len(records) >= 10)
    first.kill(signal.SIGSTOP)
    second = lab.start(**_JOB)
    # It lives, and on one machine the system's lock says so however long it says nothing.
    assert second.wait() == 1
    first.kill(signal.SIGCONT)
    assert first.wait() == 0, first.output()
    assert first.rows() == rows
    assert first.left() == []
