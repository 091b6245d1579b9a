"""Fault plans are plain data, pick what they are about, and count over the deaths of processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import signal
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend.simulated import FAULTS
from cerebro_nas.backend.simulated import Strikes
from cerebro_nas.errors import ConfigError
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import Unit
from cerebro_nas.testing import CorruptState
from cerebro_nas.testing import Delay
from cerebro_nas.testing import FailStore
from cerebro_nas.testing import FailUnit
from cerebro_nas.testing import FaultPlan
from cerebro_nas.testing import FillDisk
from cerebro_nas.testing import Freeze
from cerebro_nas.testing import JoinLate
from cerebro_nas.testing import Kill
from cerebro_nas.testing import OutOfMemory
from cerebro_nas.testing import damage_file
from cerebro_nas.testing import fault_plans
from cerebro_nas.testing import random_plan
from cerebro_nas.testing import run_search
from cerebro_nas.testing import shard_search
from cerebro_nas.testing._marks import Marks

if TYPE_CHECKING:
    from collections.abc import Callable


ALL = [cls("w0", 1.0) if cls is JoinLate else cls() for cls in FAULTS]


@settings(max_examples=100, deadline=None)
@given(fault_plans(kinds=FAULTS))
def test_a_plan_becomes_text_and_back(plan: FaultPlan) -> None:
    assert FaultPlan.from_json(plan.to_json("/tmp/marks")) == plan


def test_a_plan_of_every_fault_becomes_text_and_back() -> None:
    plan = FaultPlan([*ALL, Delay(shard=Shard("valid", 3), epoch=1), Kill("w1", 2.5, back_after=1.0)])
    assert FaultPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ("[]", "list of faults"),
        ('{"faults": [{"fault": "Sabotage"}]}', "Sabotage"),
        ('{"faults": ["Kill"]}', "must be one of"),
        ('{"faults": [{"fault": "Kill", "command": "rm"}]}', "no such fields"),
        ('{"faults": [{"fault": "Kill", "times": 0}]}', "times=0"),
    ],
)
def test_other_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FaultPlan.from_json(text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Kill(at="lunch"), "before_commit.*Received: at='lunch'"),  # type: ignore[arg-type]
        (lambda: Kill(None, 3.0), "worker=None"),
        (lambda: Kill("w0", -1.0), "at=-1.0"),
        (lambda: Kill(after_steps=-1), "after_steps=-1"),
        (lambda: Delay(float("nan")), "seconds=nan"),
        (lambda: Freeze(at="mid_write"), "at='mid_write'"),  # type: ignore[arg-type]
        (lambda: FailUnit(times=0), "times=0"),
        (lambda: CorruptState("burn"), "damage='burn'"),  # type: ignore[arg-type]
        (lambda: CorruptState(file="disk"), "file='disk'"),  # type: ignore[arg-type]
        (lambda: FillDisk(on="read"), "on='read'"),
        (lambda: FailStore(errno=0), "errno=0"),
        (lambda: JoinLate("w0", -1.0), "at=-1.0"),
        (lambda: FaultPlan(["Kill"]), "Received: 'Kill'"),  # type: ignore[list-item]
    ],
)
def test_faults_that_make_no_sense_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


# --- selectors --------------------------------------------------------------------------------------------------------


def _count() -> Callable[[int], int]:
    counts: dict[int, int] = {}

    def count(index: int) -> int:
        counts[index] = counts.get(index, 0) + 1
        return counts[index]

    return count


@pytest.mark.parametrize(
    ("selectors", "hit"),
    [
        ({}, True),
        ({"trial": "a", "worker": "w0", "epoch": 1, "phase": "train", "shard": Shard("train", 2)}, True),
        ({"trial": "b"}, False),
        ({"worker": "w1"}, False),
        ({"epoch": 0}, False),
        ({"phase": "evaluate"}, False),
        ({"shard": Shard("valid", 2)}, False),
    ],
)
def test_selectors_pick_units(selectors: dict[str, Any], hit: bool) -> None:
    fault = Delay(**selectors)
    unit = Unit("a", "train", 1, Shard("train", 2))
    assert Strikes([fault], _count()).unit(unit, "w0") == [fault] * hit


def test_of_the_matches_the_nth_and_some_more_are_struck() -> None:
    strikes = Strikes([Delay(nth=3, times=2, trial="a"), FailStore(on="read", nth=2)], _count())
    units = [Unit(trial, "train", 0, None) for trial in "abaabaa"]
    assert [len(strikes.unit(unit, "w0")) for unit in units] == [0, 0, 0, 1, 0, 1, 0]
    calls = [("read", "a"), ("write", "a"), ("read", "b"), ("read", "a")]
    assert [len(strikes.store(on, trial, "w0")) for on, trial in calls] == [0, 0, 1, 0]


def test_equal_faults_strike_each_for_itself() -> None:
    strikes = Strikes([FailUnit(), FailUnit()], _count())
    unit = Unit("a", "train", 0, None)
    assert [len(strikes.unit(unit, "w0")) for _ in range(3)] == [2, 0, 0]


# --- counters ---------------------------------------------------------------------------------------------------------


def _count_and_die(directory: str) -> None:
    Marks(Path(directory)).count(0, 10)
    os.kill(os.getpid(), signal.SIGKILL)


def test_counts_outlive_the_process_that_dies_of_them(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("spawn")
    process = fork.Process(target=_count_and_die, args=(str(tmp_path),))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    marks = Marks(tmp_path)
    assert [marks.count(0, 3), marks.count(1, 3), marks.count(0, 3), marks.count(0, 3)] == [2, 1, 3, 4]
    assert (marks.total(0), marks.total(1)) == (3, 1)  # beyond the most that matter nothing is written


def test_two_counters_never_give_the_same_count(tmp_path: Path) -> None:
    one, other = Marks(tmp_path), Marks(tmp_path)
    assert [marks.count(0, 99) for marks in (one, other, other, one, other)] == [1, 2, 3, 4, 5]


# --- installing -------------------------------------------------------------------------------------------------------


def test_a_plan_for_real_workers_goes_by_hooks_and_its_counters_go_with_the_backend() -> None:
    plan = FaultPlan([Kill(), JoinLate("w0", 0.1)])
    backend = plan.on(LocalBackend(1))
    other = LocalBackend(1)
    assert other.hooks == ""
    directory = Path(json.loads(backend.hook_data)["directory"])
    assert directory.is_dir()
    assert plan.struck(backend) == (0, 0)
    Marks(directory).count(1, 1)
    assert plan.struck(backend) == (0, 1)
    del backend
    assert not directory.exists()


def test_what_makes_no_sense_in_a_simulation_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="Kill.*after_steps=3"):
        FaultPlan([Kill(after_steps=3)]).on(SimulatedBackend(1))
    with pytest.raises(ConfigError, match="w9"):
        FaultPlan([FillDisk(worker="w9")]).on(SimulatedBackend(1))


def test_a_backend_that_takes_no_plan_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be a LocalBackend"):
        FaultPlan([]).on(object())  # type: ignore[type-var]


def test_strikes_are_asked_of_a_backend_with_the_plan() -> None:
    with pytest.raises(ConfigError, match="Call `on` first"):
        FaultPlan([Kill()]).struck(LocalBackend(1))


# --- plans by chance --------------------------------------------------------------------------------------------------


def test_a_seed_determines_a_plan() -> None:
    plans = [random_plan(seed, 3, ["a", "b"], faults=4) for seed in range(50)]
    assert plans == [random_plan(seed, 3, ["a", "b"], faults=4) for seed in range(50)]
    assert {len(plan.faults) for plan in plans} == {4}
    assert len({str(plan) for plan in plans}) == 50
    drawn = {type(fault).__name__ for plan in plans for fault in plan.faults}
    assert drawn == {cls.__name__ for cls in FAULTS} - {"Hang"}


@pytest.mark.parametrize("arguments", [{"workers": 0}, {"epochs": 0}, {"kinds": ()}])
def test_no_plan_can_be_drawn_of_nothing(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must not be 0 or empty"):
        random_plan(0, **{"workers": 1, "trials": ["a"], **arguments})


def _simulate(plan: FaultPlan, trials: int = 3) -> tuple[Any, ...]:
    search = shard_search([1000, 1000], [200])
    shards = [ShardInfo(Shard(s.split, s.index), s.rows, s.nbytes) for s in search.shards]  # type: ignore[arg-type]
    hopper = Hopper(shards, num_workers=3)
    backend = plan.on(SimulatedBackend(3, store_seconds=0.05, silence_seconds=1.0))
    result = run_search(hopper, backend, search, [TrialPlan(str(i), 3) for i in range(trials)], max_seconds=1e4)
    return tuple(result.commands), plan.struck(backend)


@settings(max_examples=150, deadline=None)
@given(fault_plans())
@example(FaultPlan([OutOfMemory(trial="0"), Freeze(2.0, "before_unit", trial="0", nth=3, times=2)]))
def test_a_simulated_search_ends_under_any_plan_and_alike_every_time(plan: FaultPlan) -> None:
    commands, struck = _simulate(plan)
    finished = [command for command in commands if type(command).__name__ == "TrialFinished"]
    assert len(finished) == 3
    assert (str(commands), struck) == tuple(str(x) if i == 0 else x for i, x in enumerate(_simulate(plan)))


@given(st.sampled_from(["flip", "truncate", "empty"]), st.binary(min_size=1))
def test_a_damaged_file_is_another_one(tmp_path_factory: pytest.TempPathFactory, damage: str, data: bytes) -> None:
    path = tmp_path_factory.mktemp("damage") / "file"
    path.write_bytes(data)
    damage_file(path, damage)
    assert path.read_bytes() != data
    damage_file(path, "missing")
    assert not path.exists()


def test_the_example_of_the_documentation_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
    section = text[text.index("## Try it yourself") :]
    script = tmp_path / "example.py"
    script.write_text(section.split("```python\n")[1].split("```")[0], encoding="utf-8")
    runpy.run_path(str(script))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["a", "COMPLETED"], ["b", "COMPLETED"]]
    assert lines[2] == "struck: (1, 1, 1)"
