"""Each fault and bad-input case has tests, and the table of them is up to date."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def cases() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cases", ROOT / "tools" / "cases.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError("tools/cases.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_case_has_a_test_and_no_test_has_an_unknown_case(cases: ModuleType) -> None:
    assert set(cases.marked_tests()) == set(cases.TITLES) == set(range(1, 36))


def test_the_table_is_up_to_date(cases: ModuleType) -> None:
    document = cases.DOCUMENT.read_text()
    # Where this fails: python tools/cases.py --write
    assert document == cases.written(document, cases.table(cases.marked_tests()))
