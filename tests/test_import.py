"""Importing is cheap, and every public name is there."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

import cerebro_nas

_HEAVY = ["autokeras", "keras", "keras_tuner", "pandas", "pyarrow", "pyspark", "tensorflow"]
_MAX_SECONDS = 0.5

# Rooms that run on KerasTuner or Keras throughout: whoever asks for them is about to search.
_BEHIND_KERAS = {"hypermodel", "search", "search_space", "tuners"}

_PROBE = """
import json, sys, time
begin = time.perf_counter()
import {module}
seconds = time.perf_counter() - begin
print(json.dumps([seconds, [name for name in {heavy} if name in sys.modules]]))
"""


def _import_alone(module: str) -> tuple[float, list[str]]:
    """Seconds that the import takes in an interpreter of its own, and the heavy modules it brings."""
    code = _PROBE.format(module=module, heavy=_HEAVY)
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    seconds, heavy = json.loads(answer.stdout)
    return seconds, heavy


def _rooms() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(cerebro_nas.__path__) if not module.name.startswith("_")]


def test_importing_the_package_is_cheap() -> None:
    answers = [_import_alone("cerebro_nas") for _ in range(3)]
    assert [heavy for _, heavy in answers] == [[], [], []]
    assert min(seconds for seconds, _ in answers) < _MAX_SECONDS


@pytest.mark.parametrize("room", [room for room in _rooms() if room not in _BEHIND_KERAS])
def test_a_room_does_not_bring_tensorflow_or_spark(room: str) -> None:
    _, heavy = _import_alone(f"cerebro_nas.{room}")
    assert set(heavy) <= {"pandas", "pyarrow"}


@pytest.mark.parametrize("module", ["cerebro_nas", *(f"cerebro_nas.{room}" for room in _rooms())])
def test_every_public_name_is_there(module: str) -> None:
    face = importlib.import_module(module)
    missing = [name for name in getattr(face, "__all__", []) if not hasattr(face, name)]
    assert not missing


def test_lazy_names_are_offered_for_completion() -> None:
    assert set(cerebro_nas.__all__) <= set(dir(cerebro_nas))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="NoSuchName"):
        _ = cerebro_nas.NoSuchName
