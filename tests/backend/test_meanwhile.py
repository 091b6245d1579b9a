"""What is done while the JVM starts: when it begins, and where its errors go."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

import pytest

from cerebro_nas.backend.spark._meanwhile import Meanwhile


def _start_process() -> None:
    """As pyspark starts its JVM: with a `preexec_fn`, that is through a fork that Python knows of."""
    subprocess.run(["true"], preexec_fn=lambda: None, check=True)


def test_the_task_starts_with_the_process_and_is_over_with_the_block() -> None:
    began, go_on, threads = threading.Event(), threading.Event(), []

    def task() -> None:
        threads.append(threading.current_thread())
        began.set()
        go_on.wait(10)
        threads.append(threading.current_thread())

    with Meanwhile(task):
        assert not began.wait(0.05)
        _start_process()
        assert began.wait(10)
        _start_process()
        assert len(threads) == 1
        go_on.set()
    assert len(threads) == 2
    assert threads[0] is not threading.main_thread()
    _start_process()
    assert len(threads) == 2


def test_the_process_keeps_the_standard_error_that_the_task_turns_away() -> None:
    """A thread may redirect the descriptor as soon as it likes: the process has its own by then."""
    began = threading.Event()
    before, (read_end, write_end) = os.dup(2), os.pipe()

    def task() -> None:
        os.dup2(write_end, 2)
        began.set()

    inherited, other_end = os.pipe()
    os.dup2(other_end, 2)
    try:
        with Meanwhile(task):
            process = subprocess.Popen(
                [sys.executable, "-c", "import os, sys; sys.stdin.read(); os.write(2, b'mine')"],
                stdin=subprocess.PIPE,
                preexec_fn=lambda: None,
            )
            assert began.wait(10)
            process.communicate(timeout=30)
    finally:
        os.dup2(before, 2)
    for descriptor in (write_end, other_end, before):
        os.close(descriptor)
    with os.fdopen(inherited, "rb") as mine, os.fdopen(read_end, "rb") as others:
        assert (mine.read(), others.read()) == (b"mine", b"")


def test_processes_of_other_threads_do_not_count() -> None:
    called: list[bool] = []
    with Meanwhile(lambda: called.append(True)):
        other = threading.Thread(target=_start_process)
        other.start()
        other.join()
        assert not called
    assert called  # at the latest when the block ends


def test_the_task_may_be_called_at_once() -> None:
    called = threading.Event()
    with Meanwhile(called.set, now=True):
        assert called.wait(10)


def test_no_task_is_no_thread() -> None:
    before = threading.active_count()
    with Meanwhile(None):
        _start_process()
        assert threading.active_count() == before


def test_what_the_task_raises_is_raised_after_the_block() -> None:
    def task() -> None:
        raise ImportError("no such thing")

    reached = False
    with pytest.raises(ImportError, match="no such thing"), Meanwhile(task, now=True):
        reached = True
    assert reached


def test_the_error_of_the_block_goes_first_and_the_other_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def task() -> None:
        raise ImportError("no such thing")

    with caplog.at_level(logging.ERROR, "cerebro_nas"), pytest.raises(ValueError, match="block"):
        with Meanwhile(task, now=True):
            raise ValueError("block")
    assert "no such thing" in caplog.text


def test_an_interrupt_does_not_wait() -> None:
    go_on = threading.Event()
    with pytest.raises(KeyboardInterrupt), Meanwhile(lambda: go_on.wait(30), now=True) as other:
        raise KeyboardInterrupt
    assert other._thread is not None
    assert other._thread.is_alive()
    go_on.set()
    other._thread.join()
