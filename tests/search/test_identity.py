"""Going on with a search as another one is refused, with what differs."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import ResumeMismatchError
from cerebro_nas.search import began_with
from cerebro_nas.search import check_data
from cerebro_nas.search import check_same
from cerebro_nas.search import identity_of

pytestmark = pytest.mark.case(33)

BEFORE: dict[str, Any] = {
    "graph": {"conv_block_1.kernel_size": 3, "conv_block_1.filters.values": [16, 32]},
    "objective": {"name": "val_accuracy", "direction": "max"},
    "data": {
        "feature_columns": ["x"],
        "label_columns": ["y"],
        "validation": 0.2,
        "input_shape": [8, 8, 1],
        "source": "10 rows ab",
        "num_shards": 2,
    },
    "tuner": "greedy",
    "tuner_options": {"exploration": 0.2},
    "hyperparameters": {},
    "seed": 0,
    "batch_size": 32,
    "epochs": 3,
    "max_model_size": None,
    "visit_order": "adaptive",
}


def _with(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(BEFORE), **changes}


def test_the_same_is_the_same() -> None:
    check_same(BEFORE, _with())


def test_every_difference_is_named() -> None:
    now = _with(
        graph={"conv_block_1.kernel_size": 5, "conv_block_1.filters.values": [16, 32], "dense.units": 8},
        objective={"name": "val_loss", "direction": "min"},
        batch_size=64,
    )
    with pytest.raises(ResumeMismatchError) as caught:
        check_same(BEFORE, now)
    text = str(caught.value)
    assert "- graph: conv_block_1.kernel_size: it began with 3. Received: 5" in text
    assert "- graph: dense.units: it began with 'nothing'. Received: 8" in text
    assert "- objective: it began with 'val_accuracy' (max). Received: 'val_loss' (min)\n" in text
    assert "- batch_size: it began with 32. Received: 64" in text
    assert "overwrite=True" in text
    assert "filters" not in text


def test_objectives_are_named_however_many_there_are() -> None:
    several = {"0": BEFORE["objective"], "1": {"name": "parameters", "direction": "min"}}
    named = "'val_accuracy' (max), 'parameters' (min)"
    with pytest.raises(ResumeMismatchError) as caught:
        check_same(BEFORE, _with(objective=several))
    assert f":\n- objective: it began with 'val_accuracy' (max). Received: {named}\n" in str(caught.value)
    with pytest.raises(ResumeMismatchError) as caught:
        check_same(_with(objective=several), BEFORE)
    assert f":\n- objective: it began with {named}. Received: 'val_accuracy' (max)\n" in str(caught.value)
    with pytest.raises(ResumeMismatchError, match="began with 3. Received"):
        check_same(_with(objective=3), BEFORE)


@pytest.mark.parametrize("field", ["graph", "objective", "data"])
def test_what_a_search_is_about_cannot_be_forced(field: str) -> None:
    now = _with()
    now[field] = {**now[field], "odd": 1}
    with pytest.raises(ResumeMismatchError):
        check_same(BEFORE, now, force=[field])


@pytest.mark.parametrize(("field", "value"), [("batch_size", 64), ("seed", 1), ("tuner", "random"), ("epochs", 2)])
def test_other_fields_can_be_forced(field: str, value: Any) -> None:
    with pytest.raises(ResumeMismatchError, match=f"force_fields=\\['{field}'\\]"):
        check_same(BEFORE, _with(**{field: value}))
    check_same(BEFORE, _with(**{field: value}), force=[field])


def test_epochs_may_be_raised() -> None:
    check_same(BEFORE, _with(epochs=10))


def test_a_long_list_is_cut() -> None:
    now = _with(graph={f"block_{i}.units": i for i in range(40)})
    with pytest.raises(ResumeMismatchError, match="and 30 more"):
        check_same(BEFORE, now)


def test_data_are_compared_before_they_are_prepared() -> None:
    asked: dict[str, Any] = {
        "feature_columns": ("x",),
        "label_columns": ("y",),
        "validation": 0.2,
        "input_shape": None,
        "source": "10 rows ab",
    }
    check_data(BEFORE, asked)
    check_data(BEFORE, {**asked, "input_shape": (8, 8, 1)})
    with pytest.raises(ResumeMismatchError, match="data: source: it began with '10 rows ab'. Received: '11 rows ac'"):
        check_data(BEFORE, {**asked, "source": "11 rows ac"})
    with pytest.raises(ResumeMismatchError, match="input_shape"):
        check_data(BEFORE, {**asked, "input_shape": (64,)})


@pytest.mark.parametrize("session", [{}, {"search": 3}, {"search": {}, "identity": "ab"}, {"search": {"data": []}}])
def test_a_session_that_says_nothing_is_damage(session: dict[str, Any]) -> None:
    with pytest.raises(CorruptStateError, match="overwrite=True"):
        began_with(session)


@pytest.mark.parametrize("identity", [None, "", "../x", "AB", 7, "a" * 33])
def test_the_directory_of_states_has_a_plain_name(identity: object) -> None:
    with pytest.raises(CorruptStateError):
        identity_of({"identity": identity})
