"""How a search reads the outputs of its models."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from typing import cast

import pytest

from cerebro_nas.results import OutputSpec
from cerebro_nas.search._session import model_source
from cerebro_nas.worker import ColumnSpec

SEVERAL = {"kind": "values", "as": "multilabel"}


def _output(target: dict[str, Any], shape: tuple[int, ...], classes: tuple[Any, ...], *, classifies: bool) -> Any:
    """How the output of a head reads whose label column is like this."""
    column = ColumnSpec("label", shape, "float32", "list" if shape else "scalar")
    prepared = SimpleNamespace(statistics={"label": SimpleNamespace(classes=classes)}, shards=(), fingerprint="")
    space = SimpleNamespace(labels=(column,), targets=(target,), classifies=(classifies,), features=())
    plan = SimpleNamespace(space=space, prepared=prepared, states_url="states")
    (found,) = model_source(cast(Any, plan)).outputs
    return found


@pytest.mark.parametrize(
    ("target", "shape", "classes", "expected"),
    [
        ({"kind": "classes", "classes": ["a", "b"], "as": "binary"}, (), (), ("binary", ("a", "b"), 2)),
        ({"kind": "classes", "classes": [1, 2, 3], "as": "onehot"}, (), (), ("onehot", (1, 2, 3), 3)),
        ({"kind": "values"}, (3,), (0, 1, 2), ("onehot", (0, 1, 2), 3)),
        # Shares of classes, as label smoothing makes them.
        ({"kind": "values"}, (3,), (), ("values", (), 3)),
        (SEVERAL, (3,), (), ("multilabel", (0, 1, 2), 3)),
        # Rows that have one label each, by chance.
        (SEVERAL, (3,), (0, 1, 2), ("multilabel", (0, 1, 2), 3)),
        (SEVERAL, (1,), (), ("multilabel", (0,), 1)),
    ],
)
def test_outputs_of_a_head_for_classes(target: Any, shape: Any, classes: Any, expected: Any) -> None:
    assert _output(target, shape, classes, classifies=True) == OutputSpec("label", *expected)


def test_outputs_of_a_head_for_numbers() -> None:
    assert _output({"kind": "values"}, (), (), classifies=False) == OutputSpec("label", "values", (), 1)
    assert _output({"kind": "values"}, (3,), (0, 1, 2), classifies=False) == OutputSpec("label", "values", (), 3)
