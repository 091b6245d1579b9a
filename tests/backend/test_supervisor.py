"""What a Spark task does before it starts a worker program: its attempts and its GPUs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cerebro_nas.backend.spark._supervisor import _gpu_addresses
from cerebro_nas.backend.spark._supervisor import first_attempt
from cerebro_nas.errors import BackendError


def _task(*addresses: str) -> Any:
    return SimpleNamespace(resources=lambda: {"gpu": SimpleNamespace(name="gpu", addresses=list(addresses))})


def test_a_worker_gets_the_gpus_of_its_task() -> None:
    assert _gpu_addresses(_task("4", "6"), 1) == "4"
    assert _gpu_addresses(_task("4", "6"), 2) == "4,6"


def test_a_worker_that_asks_for_none_sees_none() -> None:
    assert _gpu_addresses(_task("4"), 0) == "-1"
    assert _gpu_addresses(None, 0) == "-1"


@pytest.mark.parametrize("task", [_task("4"), SimpleNamespace(resources=dict), None])
def test_too_few_gpus_are_an_error_that_says_what_to_set(task: Any) -> None:
    with pytest.raises(BackendError, match=r"needs 2 GPUs.*gpus_per_worker=2.*spark.task.resource.gpu.amount"):
        _gpu_addresses(task, 2)


@pytest.mark.case(7)
def test_a_later_task_or_job_has_later_attempts() -> None:
    firsts = [first_attempt(job, attempt) for job in range(3) for attempt in range(4)]
    assert firsts == sorted(set(firsts))
