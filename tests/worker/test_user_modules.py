"""Modules of the user's: found in the driver by what they registered, imported in workers by name and folder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest

from cerebro_nas.worker import import_user_modules
from cerebro_nas.worker import main_objects
from cerebro_nas.worker import user_modules

_SOURCE = """
import keras


@keras.saving.register_keras_serializable(package="{package}")
def loss(y, p):
    return keras.ops.mean(y - p)
"""

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes a module that registers `<package>>loss`; what was imported or registered is forgotten afterwards."""
    modules, folders, objects = set(sys.modules), list(sys.path), dict(keras.saving.get_custom_objects())

    def make(name: str, package: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_SOURCE.format(package=package))

    yield make
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    sys.path[:] = folders
    registered = keras.saving.get_custom_objects()
    for name in set(registered) - set(objects):
        del registered[name]


def test_a_module_is_imported_for_what_it_registers_and_found_again_by_that(write: Write, tmp_path: Path) -> None:
    write("own_losses.py", "one")
    write("own_package/deep/losses.py", "two")
    given = (("own_losses", str(tmp_path)), ("own_package.deep.losses", str(tmp_path)))
    import_user_modules(given)
    assert {"one>loss", "two>loss"} <= set(keras.saving.get_custom_objects())
    assert set(given) <= set(user_modules())


def test_keras_and_this_package_are_no_modules_of_the_users() -> None:
    assert all(name.split(".")[0] not in ("keras", "autokeras", "cerebro_nas") for name, _ in user_modules())


def test_a_module_that_is_missing_is_told_and_stops_nothing(
    write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "own_broken.py").write_text("raise RuntimeError('no licence')")
    write("own_fine.py", "three")
    with caplog.at_level(logging.WARNING):
        import_user_modules([("own_gone", "/nowhere"), ("own_broken", str(tmp_path)), ("own_fine", str(tmp_path))])
    assert [record.args for record in caplog.records if record.args][0][0] == "own_gone"  # type: ignore[index]
    assert "no licence" in caplog.text
    assert "three>loss" in keras.saving.get_custom_objects()


def test_what_the_script_itself_registers_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(y: object, p: object) -> object:
        return y, p

    loss.__module__ = "__main__"
    monkeypatch.setitem(keras.saving.get_custom_objects(), "own>loss", loss)
    assert main_objects() == {"own>loss"}
    assert "__main__" not in dict(user_modules())
