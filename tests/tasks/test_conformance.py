"""The table of AutoKeras' names is complete, true where that can be told by looking, and in the document."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

import autokeras
import pytest

import cerebro_nas

ROOT = Path(__file__).resolve().parents[2]


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = _load(ROOT / "tools" / "conformance.py")
ROWS = TOOL.rows()
ALL: list[Any] = [row for rows in ROWS.SECTIONS.values() for row in rows]
NAMES = {row.name for row in ALL}


def _public(owner: Any) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")}


def test_every_public_name_has_a_row_and_one_only() -> None:
    # What Python's import system leaves behind is no name of theirs.
    assert _public(autokeras) | {"__version__"} <= NAMES
    assert len(NAMES) == len(ALL)


def test_every_method_and_argument_of_auto_model_has_a_row(tmp_path: Path) -> None:
    # It writes files as soon as it is made.
    theirs = autokeras.AutoModel(autokeras.Input(), autokeras.RegressionHead(), directory=tmp_path)
    assert {f"AutoModel.{name}" for name in _public(theirs)} <= NAMES
    arguments = {f"AutoModel({name})" for name in _arguments(autokeras.AutoModel.__init__)}
    arguments |= {f"AutoModel.fit({name})" for name in _arguments(autokeras.AutoModel.fit)}
    assert arguments <= NAMES


def _arguments(method: Any) -> set[str]:
    parameters = inspect.signature(method).parameters.values()
    return {f"**{p.name}" if p.kind is p.VAR_KEYWORD else p.name for p in parameters} - {"self"}


def test_verdicts_say_how() -> None:
    assert {row.verdict for row in ALL} == {"same", "different", "refused"}
    assert [row.name for row in ALL if row.verdict != "same" and not row.how] == []
    assert [row.name for row in ALL if "|" in row.how] == []


@pytest.mark.parametrize("row", [row for row in ALL if row.proof], ids=lambda row: row.name)
def test_proofs_are_there(row: Any) -> None:
    file, _, test = row.proof.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text())
    tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert not test or test in tests


@pytest.mark.parametrize("name", sorted(_public(autokeras)))
def test_names_are_there_or_refused(name: str) -> None:
    (row,) = [row for row in ALL if row.name == name]
    if row.verdict == "refused":
        with pytest.raises(AttributeError):
            getattr(cerebro_nas, name)
    else:
        assert getattr(cerebro_nas, name) is not None


def test_what_is_autokeras_own_is_the_very_object() -> None:
    ours = {"AutoModel", *(row.name for row in ROWS.TASKS)}
    rows = [row for row in (*ROWS.INPUTS, *ROWS.BLOCKS, *ROWS.OTHERS) if row.verdict != "refused"]
    own = [row.name for row in rows if row.name not in ("__version__", "tasks", "tuners")]
    assert len(own) > 40
    assert [name for name in own if getattr(cerebro_nas, name) is not getattr(autokeras, name)] == []
    assert not ours & set(own)


def test_no_room_has_the_name_of_a_module_of_theirs() -> None:
    # `from cerebro_nas import engine` would give theirs, were there one of ours.
    rooms = {module.name for module in pkgutil.iter_modules(cerebro_nas.__path__)}
    assert not rooms & {*cerebro_nas._MODULES, *cerebro_nas.__all__}


def test_the_document_is_up_to_date() -> None:
    document = TOOL.DOCUMENT.read_text()
    # Where this fails: python tools/conformance.py --write
    assert document == TOOL.written(document, TOOL.table(ROWS.SECTIONS))
