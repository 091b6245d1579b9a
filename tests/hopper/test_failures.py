"""What failures cost a trial, and what they cost a worker."""

from __future__ import annotations

import pytest

from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend.simulated import Fault
from cerebro_nas.errors import ConfigError
from cerebro_nas.hopper import Command
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import RunUnit
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import TrialAdded
from cerebro_nas.hopper import TrialFinished
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import TrialStatus
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import UnitReport
from cerebro_nas.hopper import WorkerExcluded
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.testing import FailUnit
from cerebro_nas.testing import Hang
from cerebro_nas.testing import Kill
from cerebro_nas.testing import OutOfMemory
from cerebro_nas.testing import SimulatedSearch
from cerebro_nas.testing import run_search
from cerebro_nas.testing import shard_search


def make(workers: int = 1, trials: int = 1, shards: int = 2, epochs: int = 1) -> Hopper:
    infos = [ShardInfo(Shard("train", i), 10, 0) for i in range(shards)]
    hopper = Hopper(infos, num_workers=workers, parallelism=trials)
    for i in range(workers):
        hopper.handle(WorkerJoined(f"w{i}"), 0.0)
    for i in range(trials):
        hopper.handle(TrialAdded(TrialPlan(f"t{i}", epochs)), 0.0)
    return hopper


def poll(hopper: Hopper, now: float = 0.0) -> dict[str, RunUnit]:
    """Start what can be started; by trial."""
    return {run.unit.trial: run for run in hopper.poll(now) if isinstance(run, RunUnit)}


def done(hopper: Hopper, run: RunUnit, now: float = 0.0) -> list[Command]:
    return hopper.handle(UnitDone(run.worker, run.unit, UnitReport(10, {"loss": 1.0}, 1.0, 1.0)), now)


def fail(hopper: Hopper, run: RunUnit, reason: str = "error", now: float = 0.0) -> list[Command]:
    return hopper.handle(UnitFailed(run.worker, run.unit, reason, "", trial_fault=False), now)


def simulate(faults: list[Fault], trials: int = 6, workers: int = 3) -> tuple[Hopper, SimulatedSearch]:
    infos = [ShardInfo(Shard("train", i), 1000, 1000) for i in range(3)]
    hopper = Hopper(infos, num_workers=workers)
    backend = SimulatedBackend(workers, seconds=lambda unit, spec: 1.0, faults=faults, store_seconds=0.1)
    return hopper, run_search(hopper, backend, shard_search([1000] * 3), [TrialPlan(f"t{i}", 2) for i in range(trials)])


# --- the trial's share ------------------------------------------------------------------------------------------------


@pytest.mark.case(16, 19)
@pytest.mark.parametrize("reason", ["oom", "timeout"])
def test_out_of_memory_and_timeouts_are_tried_again_once_in_the_life_of_a_trial(reason: str) -> None:
    hopper = make(workers=2)
    run = poll(hopper)["t0"]
    assert fail(hopper, run, reason) == []
    again = poll(hopper)["t0"]
    assert again.worker != run.worker
    assert again.unit.shard != run.unit.shard
    (finished,) = [c for c in fail(hopper, again, reason) if isinstance(c, TrialFinished)]
    assert (finished.status, finished.reason) == (TrialStatus.FAILED, reason)


def test_one_reason_does_not_use_up_the_chance_of_another() -> None:
    hopper = make()
    for reason in ("oom", "timeout", "error", "error"):
        assert fail(hopper, poll(hopper)["t0"], reason) == []
    assert fail(hopper, poll(hopper)["t0"], "error") != []


@pytest.mark.case(16)
def test_after_out_of_memory_the_next_trial_succeeds_in_a_fresh_process() -> None:
    _, result = simulate([OutOfMemory(trial="t2", times=99)])
    failed = {t.trial: t.reason for t in result.trials.values() if t.status is TrialStatus.FAILED}
    assert failed == {"t2": "oom"}
    assert len(result.trials) == 6
    assert not any(isinstance(c, WorkerExcluded) for c in result.commands)


@pytest.mark.case(19)
def test_a_unit_that_hangs_is_tried_again_and_then_fails_its_trial() -> None:
    hopper, result = simulate([Hang(trial="t2", times=99)])
    failed = {t.trial: t.reason for t in result.trials.values() if t.status is TrialStatus.FAILED}
    assert failed == {"t2": "timeout"}
    assert [e.outcome for e in hopper.log if e.unit.trial == "t2"] == ["failed", "failed"]


def test_a_planned_departure_counts_against_nobody() -> None:
    hopper = make()
    for attempt in range(1, 9):
        poll(hopper)
        assert hopper.handle(WorkerLost("w0", "recycled", planned=True), 0.0) == []
        hopper.handle(WorkerJoined("w0", attempt), 0.0)
    assert poll(hopper)["t0"].unit.attempt == 8


@pytest.mark.case(4)
def test_a_poisonous_trial_fails_and_its_workers_are_not_excluded() -> None:
    _, result = simulate([Kill(trial="t1", times=99, back_after=0.1)])
    assert (result.trials["t1"].status, result.trials["t1"].reason) == (TrialStatus.FAILED, "worker_lost")
    assert sum(t.status is TrialStatus.COMPLETED for t in result.trials.values()) == 5
    assert not any(isinstance(c, WorkerExcluded) for c in result.commands)


def test_failures_of_the_same_trial_never_exclude_a_worker() -> None:
    hopper = make()
    for _ in range(2):
        assert fail(hopper, poll(hopper)["t0"]) == []
    assert not any(isinstance(c, WorkerExcluded) for c in fail(hopper, poll(hopper)["t0"]))
    assert hopper.available(0.0) == 1


# --- missing states ---------------------------------------------------------------------------------------------------


@pytest.mark.case(12)
def test_a_missing_state_falls_back_step_by_step_and_each_step_leaves_less_to_try() -> None:
    hopper = make(shards=3, epochs=2)
    for generation in (1, 2, 3):
        run = poll(hopper)["t0"]
        done(hopper, run)
        if generation < 3:
            hopper.handle(StateStored(run.unit, generation, f"g{generation}"), 0.0)
    tried = []
    for _ in range(4):
        run = poll(hopper)["t0"]
        tried.append(run.state)
        assert fail(hopper, run, "state_missing") == []
    assert tried == [StateRef(3, "w0"), StateRef(2, None, "g2"), StateRef(1, None, "g1"), StateRef(0)]


@pytest.mark.case(12)
def test_a_state_that_is_missing_where_there_is_none_counts_as_a_failure() -> None:
    hopper = make()
    for _ in range(2):
        assert fail(hopper, poll(hopper)["t0"], "state_missing") == []
    (finished, *_) = fail(hopper, poll(hopper)["t0"], "state_missing")
    assert isinstance(finished, TrialFinished)
    assert finished.reason == "state_missing"


def test_a_trial_whose_state_cannot_be_moved_stays_where_it_is() -> None:
    hopper = make(workers=2, shards=2, epochs=2)
    units = 0
    for now in range(100):
        for run in poll(hopper, float(now)).values():
            if run.state.generation and run.state.holder != run.worker:
                assert not any(isinstance(c, TrialFinished) for c in fail(hopper, run, "state_missing", now))
            else:
                units += 1
                done(hopper, run, now)
        if not hopper.snapshot().trials:
            break
    assert hopper.snapshot().finished == {TrialStatus.COMPLETED: 1}
    assert units <= 4 + 3 + 1


# --- early and late news of the store ---------------------------------------------------------------------------------


@pytest.mark.case(2)
def test_a_state_may_be_stored_before_its_unit_is_reported() -> None:
    hopper = make()
    run = poll(hopper)["t0"]
    hopper.handle(StateStored(run.unit, 1, "early"), 0.0)
    assert hopper.stored_names("t0") == ()
    done(hopper, run)
    assert hopper.stored_names("t0") == ("early",)
    hopper.handle(WorkerLost("w0", "gone"), 0.0)
    hopper.handle(WorkerJoined("w0", 1), 0.0)
    assert (state := poll(hopper)["t0"].state).stored == "early"
    assert state.generation == 1


@pytest.mark.case(2, 21)
def test_what_a_dead_attempt_stored_is_not_used() -> None:
    hopper = make()
    first = poll(hopper)["t0"]
    hopper.handle(StateStored(first.unit, 1, "orphan"), 0.0)
    hopper.handle(WorkerLost("w0", "died before it said so"), 0.0)
    hopper.handle(WorkerJoined("w0", 1), 0.0)
    second = poll(hopper)["t0"]
    assert (second.unit.attempt, second.state.generation) == (1, 0)
    hopper.handle(StateStored(first.unit, 1, "zombie"), 0.0)
    assert hopper.ignored == 1
    hopper.handle(StateStored(second.unit, 1, "right"), 0.0)
    hopper.handle(StateStored(first.unit, 1, "zombie again"), 0.0)
    done(hopper, second)
    assert hopper.stored_names("t0") == ("right",)
    assert hopper.ignored == 2


@pytest.mark.case(12, 21)
def test_two_generations_are_kept_and_late_news_of_older_ones_is_ignored() -> None:
    hopper = make(shards=4)
    units = []
    for _ in range(4):
        units.append((run := poll(hopper)["t0"]).unit)
        if len(units) < 4:
            done(hopper, run)
    for generation in (1, 3, 2):
        hopper.handle(StateStored(units[generation - 1], generation, f"g{generation}"), 0.0)
    assert hopper.ignored == 1
    assert hopper.stored_names("t0") == ("g1", "g3")
    hopper.handle(StateStored(units[3], 4, "g4"), 0.0)
    assert hopper.stored_names("t0") == ("g1", "g3")
    done(hopper, run)
    assert hopper.stored_names("t0") == ()  # it has ended
    assert hopper.stored_names("nobody") == ()


# --- the worker's share -----------------------------------------------------------------------------------------------


def spoil(hopper: Hopper, worker: str, trials: int, now: float) -> list[Command]:
    """Let units of so many trials fail on `worker`, while the others are done."""
    said: list[Command] = []
    spoilt: set[str] = set()
    while len(spoilt) < trials:
        for run in poll(hopper, now).values():
            if run.worker == worker and len(spoilt) < trials:
                assert run.unit.trial not in spoilt
                spoilt.add(run.unit.trial)
                said += fail(hopper, run, now=now)
            else:
                done(hopper, run, now)
    return said


@pytest.mark.case(5)
def test_a_worker_that_fails_three_trials_in_a_row_is_excluded_and_tried_again_later() -> None:
    hopper = make(workers=2, trials=8, epochs=9)
    (excluded,) = spoil(hopper, "w0", 3, now=10.0)
    assert isinstance(excluded, WorkerExcluded)
    assert (excluded.worker, excluded.until) == ("w0", 70.0)
    assert "3 trials" in excluded.reason
    assert (hopper.available(69.0), hopper.available(70.0)) == (1, 2)
    assert hopper.snapshot().excluded == {"w0": 70.0}
    assert hopper.homes("w0") == []
    assert len(hopper.homes("w1")) == 2
    assert {run.worker for run in poll(hopper, 69.0).values()} == {"w1"}
    assert {run.worker for run in poll(hopper, 70.0).values()} == {"w0"}
    assert len(hopper.homes("w0")) == 1
    assert hopper.snapshot().excluded == {}


@pytest.mark.case(5)
def test_the_time_doubles_up_to_its_limit_and_a_success_starts_anew() -> None:
    hopper = make(workers=1, trials=40, shards=40)
    now, waits = 0.0, []
    for _ in range(40):
        for run in poll(hopper, now).values():
            for command in fail(hopper, run, now=now):
                if isinstance(command, WorkerExcluded):
                    waits.append(command.until - now)
                    now = command.until
    assert waits[:7] == [60.0, 120.0, 240.0, 480.0, 960.0, 1800.0, 1800.0]
    (run,) = poll(hopper, now).values()
    done(hopper, run, now)
    (excluded,) = [c for c in spoil(hopper, "w0", 3, now) if isinstance(c, WorkerExcluded)]
    assert excluded.until == now + 60.0


def test_a_success_between_or_a_fault_of_the_trials_excludes_nobody() -> None:
    hopper = make(workers=2, trials=9, epochs=9)
    for _ in range(3):
        assert spoil(hopper, "w0", 2, now=0.0) == []
        assert "w0" in [run.worker for run in poll(hopper).values() if done(hopper, run) is not None]
    hopper = make(workers=1, trials=9)
    for _ in range(9):
        (run,) = poll(hopper).values()
        commands = hopper.handle(UnitFailed("w0", run.unit, "nan_loss", "", trial_fault=True), 0.0)
        assert not any(isinstance(c, WorkerExcluded) for c in commands)


@pytest.mark.case(5)
def test_a_worker_that_dies_under_one_trial_after_the_other_is_excluded_when_it_is_back() -> None:
    hopper = make(workers=2, trials=8)
    said: list[Command] = []
    for attempt in range(1, 4):
        for run in poll(hopper).values():
            if run.worker == "w1":
                done(hopper, run)
        said += hopper.handle(WorkerLost("w0", "killed"), 0.0)
        hopper.handle(WorkerJoined("w0", attempt), 0.0)
    assert [c.worker for c in said if isinstance(c, WorkerExcluded)] == ["w0"]
    assert {run.worker for run in poll(hopper, 59.0).values()} <= {"w1"}
    assert hopper.available(59.0) == 1


@pytest.mark.case(5)
@pytest.mark.parametrize("reason", ["error", "oom", "timeout"])
@pytest.mark.parametrize("worker", ["w0", "w1", "w2"])
def test_no_trial_fails_because_of_a_bad_worker_where_there_are_good_ones(worker: str, reason: str) -> None:
    hopper, result = simulate([FailUnit(worker=worker, reason=reason, times=10**6)])
    assert {t.status for t in result.trials.values()} == {TrialStatus.COMPLETED}
    assert any(isinstance(c, WorkerExcluded) and c.worker == worker for c in result.commands)
    assert sum(e.outcome == "failed" for e in hopper.log) <= 4


@pytest.mark.case(5)
def test_a_worker_that_kills_all_it_gets_fails_no_trial_where_there_are_good_ones() -> None:
    _, result = simulate([Kill(worker="w1", times=10**6, back_after=0.1)])
    assert {t.status for t in result.trials.values()} == {TrialStatus.COMPLETED}


def test_a_trial_does_not_wait_for_one_of_two_workers_each_of_which_failed_it() -> None:
    hopper = make(workers=2, trials=2, shards=1)
    first, other = (Unit(trial, "train", 0, Shard("train", 0)) for trial in ("t0", "t1"))
    fail(hopper, hopper.launch("w1", first, 0.0))
    done(hopper, hopper.launch("w1", other, 0.0))  # So w1 is no suspect, but that unit had better not run there.
    hopper.launch("w0", Unit("t0", "train", 0, Shard("train", 0), attempt=1), 0.0)
    hopper.handle(WorkerLost("w0", "killed"), 0.0)
    hopper.handle(WorkerJoined("w0", 1), 0.0)
    assert set(poll(hopper)) == {"t0"}


def test_where_every_worker_is_bad_trials_fail_in_the_end() -> None:
    _, result = simulate([FailUnit(times=10**6)], workers=2)
    assert {t.status for t in result.trials.values()} == {TrialStatus.FAILED}


# --- the search's end, and after --------------------------------------------------------------------------------------


@pytest.mark.case(6)
def test_without_workers_it_waits_and_goes_on_with_the_first_one() -> None:
    hopper = make(workers=2)
    run = poll(hopper)["t0"]
    for name in ("w0", "w1"):
        hopper.handle(WorkerLost(name, "gone"), 1.0)
    assert hopper.available(1.0) == 0
    assert hopper.poll(1000.0) == []
    hopper.handle(WorkerJoined("w7"), 1000.0)
    again = poll(hopper, 1000.0)["t0"]
    assert (again.worker, again.unit.shard, again.unit.attempt) == ("w7", run.unit.shard, 1)


@pytest.mark.parametrize(
    "setting",
    [
        {"max_failures_in_a_row": 0},
        {"cool_down": 0.0},
        {"max_cool_down": -1.0},
        {"timeout_factor": 0.0},
        {"min_timeout": float("nan")},
        {"first_timeout": 0.0},
        {"unit_timeout": 0.0},
        {"visit_order": "random"},
    ],
)
def test_bad_settings_are_refused(setting: dict[str, object]) -> None:
    (name,) = setting
    with pytest.raises(ConfigError, match=rf"`{name}` must .*Received: {name}="):
        Hopper([ShardInfo(Shard("train", 0), 1, 1)], num_workers=1, **setting)  # type: ignore[arg-type]
