from __future__ import annotations

import subprocess
import sys

import pytest

from cerebro_nas.worker._imports import left_out

# What the worker program does, and what a user's own layer may do in that process later.
_SCRIPT = """
import sys
from cerebro_nas.worker._imports import UNUSED, left_out
with left_out():
    from cerebro_nas.worker import Engine
assert not set(UNUSED) & set(sys.modules), "something else imports them"
import keras
import numpy as np
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
rows = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
before = model.fit(*rows, epochs=2, verbose=0).history["loss"]
import pandas, sklearn, sklearn.linear_model
assert pandas.DataFrame({"a": [1]}).a.sum() == 1
assert sklearn.linear_model.LinearRegression().fit(*rows).score(*rows) == 1
assert model.fit(*rows, verbose=0).history["loss"][0] < before[0]
assert model.predict(rows[0], verbose=0).shape == (4, 1)
"""


@pytest.mark.slow
def test_the_engine_needs_none_of_them_and_they_can_be_imported_later() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr


def test_a_module_is_missing_for_a_while() -> None:
    with left_out(["colorsys", "antigravity"]):
        with pytest.raises(ImportError):
            __import__("antigravity")
    assert "antigravity" not in sys.modules
    assert __import__("colorsys").__name__ == "colorsys"


def test_what_is_loaded_stays() -> None:
    with left_out(["sys"]):
        assert __import__("sys") is sys


def test_modules_come_back_after_an_error() -> None:
    sys.modules.pop("colorsys", None)
    with pytest.raises(ZeroDivisionError), left_out(["colorsys"]):
        raise ZeroDivisionError
    assert "colorsys" not in sys.modules
    assert __import__("colorsys").__name__ == "colorsys"
