"""Without hooks a worker program goes as it would; with a name it gets what that function makes."""

from __future__ import annotations

import pytest

from cerebro_nas.hopper import Unit
from cerebro_nas.worker import Hooks
from cerebro_nas.worker._hooks import load_hooks

UNIT = Unit("a", "train", 0, None)


def test_without_a_name_nothing_happens() -> None:
    hooks, store, result = load_hooks("", "", "w0"), object(), object()
    assert type(hooks) is Hooks
    hooks.before_join()
    assert hooks.open_store(store, "url") is store
    hooks.before_unit(UNIT)
    with hooks.during(UNIT, lambda: 0):
        pass
    assert hooks.after_unit(UNIT, result) is result
    hooks.before_commit(UNIT)


class _Named(Hooks):
    def __init__(self, data: str, worker: str) -> None:
        self.made_of = data, worker


def test_a_name_leads_to_the_function_that_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cerebro_nas.testing.worker_hooks", _Named)
    hooks = load_hooks("cerebro_nas.testing:worker_hooks", "data", "w1")
    assert isinstance(hooks, _Named)
    assert hooks.made_of == ("data", "w1")
