"""The loop that drives simulated searches."""

from __future__ import annotations

import pytest

from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend.simulated import FailUnit
from cerebro_nas.backend.simulated import Hang
from cerebro_nas.errors import BackendError
from cerebro_nas.hopper import DropState
from cerebro_nas.hopper import EpochFinished
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import RunUnit
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import TrialStatus
from cerebro_nas.hopper import TrialStopRequested
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.testing import run_search
from cerebro_nas.testing import shard_search

INFOS = [ShardInfo(Shard("train", i), 10, 0) for i in range(2)]
PLANS = [TrialPlan(f"t{i}", 2) for i in range(3)]


def new() -> tuple[Hopper, SimulatedBackend]:
    return Hopper(INFOS, num_workers=2), SimulatedBackend(2)


def test_commands_about_units_are_kept_unless_told_otherwise() -> None:
    full = run_search(*new(), shard_search([10, 10]), PLANS)
    brief = run_search(*new(), shard_search([10, 10]), PLANS, keep_units=False)
    assert any(isinstance(command, RunUnit) for command in full.commands)
    rest = [command for command in full.commands if not isinstance(command, RunUnit | DropState)]
    assert brief.commands == rest
    assert brief.epochs == full.epochs
    assert set(brief.trials) == {"t0", "t1", "t2"}


def test_a_trial_can_be_stopped_at_the_end_of_an_epoch() -> None:
    def stop(epoch: EpochFinished) -> TrialStopRequested | None:
        return TrialStopRequested("t1", TrialStatus.STOPPED, "enough") if epoch.trial == "t1" else None

    result = run_search(*new(), shard_search([10, 10]), PLANS, stop)
    assert {name: trial.status.value for name, trial in result.trials.items()} == {
        "t0": "COMPLETED",
        "t1": "STOPPED",
        "t2": "COMPLETED",
    }


def test_a_unit_that_hangs_is_given_up_and_runs_again() -> None:
    backend = SimulatedBackend(2, faults=[Hang(trial="t1")])
    result = run_search(Hopper(INFOS, num_workers=2), backend, shard_search([10, 10]), PLANS)
    assert {trial.status for trial in result.trials.values()} == {TrialStatus.COMPLETED}
    assert 60 < result.ended < 70


def test_a_search_goes_on_from_a_part_of_its_inputs() -> None:
    full = run_search(*new(), shard_search([10, 10]), PLANS)
    hopper, backend = new()
    for now, item in full.inputs[:9]:
        if isinstance(item, RunUnit):
            hopper.launch(item.worker, item.unit, now)
        else:
            hopper.handle(item, now)
    for worker in hopper.snapshot().workers:
        hopper.handle(WorkerLost(worker.worker, "left", planned=True), now)
    result = run_search(hopper, backend, shard_search([10, 10]), [])
    assert set(result.trials) == {"t0", "t1", "t2"}


def test_it_gives_up_in_the_end() -> None:
    backend = SimulatedBackend(1, seconds=lambda unit, spec: 1.0, faults=[FailUnit(times=1000)])
    hopper = Hopper(INFOS, num_workers=1, max_attempts=1000)
    with pytest.raises(BackendError, match="did not end within 20"):
        run_search(hopper, backend, shard_search([10, 10]), PLANS, max_seconds=20)
