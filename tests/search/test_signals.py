"""Signals as they arrive in this process."""

from __future__ import annotations

import signal

import pytest

from cerebro_nas.search import StopSignals


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
