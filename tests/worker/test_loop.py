"""The count of steps moves while a graph runs, step by step, and never ahead of the work."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cerebro_nas.worker._loop import Loop
from cerebro_nas.worker._loop import StepCount


class _Gated:
    """A model whose step waits in the middle of the graph until it is let through."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def train_step(self, data: Any) -> dict[str, Any]:
        return {"loss": tf.py_function(self._wait, [data[0]], tf.float32)}

    test_step = train_step

    def _wait(self, x: Any) -> Any:
        self.begun.release()
        self.gate.acquire(timeout=20)
        return tf.reduce_sum(x)


@pytest.mark.case(19)
@pytest.mark.parametrize("phase", ["train", "test"])
def test_the_count_is_read_while_a_step_blocks_and_stands_at_the_steps_that_ended(phase: str) -> None:
    rows = [np.ones((10, 2), np.float32)]
    model, steps = _Gated(), StepCount()
    gated: Any = model
    loop = Loop(gated, rows, rows, steps)
    inputs, order = [tf.constant(rows[0])], tf.range(10)
    arguments = (inputs, inputs, order, 3) if phase == "train" else (inputs, inputs, 3)
    thread = threading.Thread(target=getattr(loop, phase), args=arguments)
    thread.start()
    try:
        for ended in range(4):
            assert model.begun.acquire(timeout=20)
            begun = time.monotonic()
            seen = steps.value
            assert time.monotonic() - begun < 1.0
            assert seen == ended
            model.gate.release()
    finally:
        model.gate.release(9)
        thread.join(20)
    assert steps.value == 4
    assert loop.traces == 1
