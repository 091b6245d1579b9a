"""What is tried again, how often, and for how long."""

from __future__ import annotations

import errno

import pytest

from cerebro_nas.storage._retry import TRANSIENT
from cerebro_nas.storage._retry import retry


class Failing:
    """Fails with these errors, one after another, then answers."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.numbers:
            raise OSError(self.numbers.pop(0), "")
        return "answer"


@pytest.mark.case(14)
@pytest.mark.parametrize("number", sorted(TRANSIENT))
def test_a_transient_failure_is_tried_again(number: int) -> None:
    pauses: list[float] = []
    call = Failing(number, number)
    assert retry(call, sleep=pauses.append) == "answer"
    assert call.calls == 3
    assert len(pauses) == 2


@pytest.mark.case(14)
def test_the_third_failure_is_raised() -> None:
    call = Failing(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN)
    with pytest.raises(OSError, match="Errno") as caught:
        retry(call, sleep=lambda _: None)
    assert (caught.value.errno, call.calls) == (errno.ETIMEDOUT, 3)


@pytest.mark.case(14)
@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT, errno.ENOSPC, errno.EROFS])
def test_what_will_not_be_better_a_moment_later_is_raised_at_once(number: int) -> None:
    pauses: list[float] = []
    call = Failing(number)
    with pytest.raises(OSError, match="Errno"):
        retry(call, sleep=pauses.append)
    assert (call.calls, pauses) == (1, [])


@pytest.mark.case(14)
def test_pauses_grow_differ_and_stay_under_two_seconds() -> None:
    def pauses(draw: float) -> list[float]:
        found: list[float] = []
        retry(Failing(errno.EIO, errno.EIO), sleep=found.append, draw=lambda: draw)
        return found

    short, long = pauses(0.0), pauses(1.0)
    assert short[0] < short[1]
    assert all(a < b for a, b in zip(short, long, strict=True))
    assert sum(long) < 2
