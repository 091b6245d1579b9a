"""Signals as they arrive in this process."""

from __future__ import annotations

import signal
import threading

import pytest

from cerebro_nas.search import StopSignals
from cerebro_nas.search._signals import JobsInterrupt


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.case(10)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_the_first_asks_and_the_second_ends(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    clock = Clock()
    with StopSignals(30.0, clock) as signals:
        seen = [signals.wanted]
        signal.raise_signal(number)
        assert [*seen, signals.wanted] == [False, True]
        assert not signals.patience_is_over()
        clock.seconds = 30.0
        assert signals.patience_is_over()
        with pytest.raises((KeyboardInterrupt, SystemExit)) as ended:
            signal.raise_signal(number)
        assert getattr(ended.value, "code", None) == {signal.SIGINT: None, signal.SIGTERM: 143}[number]
        assert signals.ends_program == (number == signal.SIGTERM)
    assert signal.getsignal(number) is before


@pytest.mark.case(10)
def test_a_key_that_is_kept_pressed_does_not_break_off_the_tidying_up() -> None:
    clock = Clock()
    with StopSignals(30.0, clock):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        clock.seconds = 4.0
        signal.raise_signal(signal.SIGINT)
        # If that hangs, there must be a way out.
        clock.seconds = 5.0
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.case(10)
def test_an_interrupt_cancels_jobs_until_the_block_ends() -> None:
    before = signal.getsignal(signal.SIGINT)
    cancelled = threading.Semaphore(0)

    def cancel() -> None:
        cancelled.release()
        raise OSError("no JVM")

    with pytest.raises(KeyboardInterrupt), JobsInterrupt(cancel):
        signal.raise_signal(signal.SIGINT)
        assert cancelled.acquire(timeout=5.0)
        assert cancelled.acquire(timeout=5.0)
        raise ValueError("the job was cancelled")
    assert signal.getsignal(signal.SIGINT) is before
    with JobsInterrupt(cancel):
        pass
    assert not cancelled.acquire(blocking=False)


@pytest.mark.case(10)
def test_a_second_interrupt_does_not_wait_for_jobs() -> None:
    waiting = [False]
    with pytest.raises(KeyboardInterrupt), JobsInterrupt(lambda: None):
        signal.raise_signal(signal.SIGINT)
        waiting[0] = True
        signal.raise_signal(signal.SIGINT)
        waiting[0] = False
    assert waiting == [True]
