"""The six tasks: AutoKeras' arguments, and what it tries first."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import autokeras
import numpy as np
import pandas as pd
import pytest

import cerebro_nas as ak
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.errors import ConfigError
from cerebro_nas.tasks._starts import starts

TASKS = (
    "ImageClassifier",
    "ImageRegressor",
    "TextClassifier",
    "TextRegressor",
    "StructuredDataClassifier",
    "StructuredDataRegressor",
)
DRAW = np.random.default_rng(0)
ROWS = 24
IMAGES = DRAW.integers(0, 256, (ROWS, 8, 8), dtype=np.uint8)
TEXTS = np.array(["a fine puppy runs", "the odd car barfs", "an odd girl jumps"] * (ROWS // 3))
TABLE = pd.DataFrame({"age": DRAW.normal(size=ROWS), "sex": ["f", "m"] * (ROWS // 2)})
CLASSES = np.array(["a", "b", "c"] * (ROWS // 3))
NUMBERS = DRAW.normal(size=ROWS)


def _parameters(owner: Any, method: str) -> list[tuple[Any, ...]]:
    return [(p.name, p.default, p.kind) for p in inspect.signature(getattr(owner, method)).parameters.values()]


@pytest.mark.parametrize("method", ["__init__", "fit", "predict", "evaluate", "export_model"])
@pytest.mark.parametrize("task", TASKS)
def test_arguments_are_autokeras_own_in_its_order(task: str, method: str) -> None:
    ours, theirs = _parameters(getattr(ak, task), method), _parameters(getattr(autokeras, task), method)
    if method == "export_model":
        # Where to is an argument of ours.
        assert [p for p in ours if p[0] != "path"] == theirs
    else:
        assert ours == theirs


@pytest.mark.parametrize("task", TASKS)
def test_the_project_and_the_objective_are_called_as_there(task: str, tmp_path: Path) -> None:
    theirs = inspect.signature(getattr(autokeras, task).__init__).parameters
    model = getattr(ak, task)(directory=tmp_path)
    assert model.project_name == theirs["project_name"].default
    assert model.objective.name == theirs["objective"].default
    assert (model.max_trials, model.directory) == (100, tmp_path)


CASES: dict[str, tuple[Callable[..., Any], Any, Any, str]] = {
    "image": (lambda **kw: ak.ImageClassifier(**kw), IMAGES, CLASSES, "image_classifier"),
    "text": (lambda **kw: ak.TextClassifier(**kw), TEXTS, CLASSES, "text_classifier"),
    "table": (lambda **kw: ak.StructuredDataClassifier(**kw), TABLE, CLASSES, "structured_data_classifier"),
    "numbers": (lambda **kw: ak.StructuredDataRegressor(**kw), TABLE, NUMBERS, "structured_data_regressor"),
}


# The space of images is explored with every EfficientNet in it.
@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.slow) if c == "image" else c for c in CASES])
def test_what_autokeras_tries_first_is_tried_first(case: str, tmp_path: Path) -> None:
    make, x, y, task = CASES[case]
    expected = starts(task)
    model = make(directory=tmp_path, max_trials=len(expected))
    model.resource_bind(SimulatedBackend(2))
    model.fit(x, y, epochs=1, verbose=0, validation_data=(x, y), callbacks=[])
    tried = [record.hyperparameters for record in model.result.records]
    # Equal in every name that AutoKeras gives; each is in the space, or the search would have refused it.
    assert [
        {name: values.get(name) for name in start} for values, start in zip(tried, expected, strict=True)
    ] == expected


def test_the_task_is_what_the_head_says(tmp_path: Path) -> None:
    classifier = ak.ImageClassifier(num_classes=4, multi_label=True, metrics=["AUC"], directory=tmp_path)
    (head,) = classifier._heads
    assert (head.num_classes, head.multi_label, head.metrics) == (4, True, ["AUC"])
    regressor = ak.TextRegressor(output_dim=2, loss="mean_absolute_error", directory=tmp_path)
    (head,) = regressor._heads
    assert (head.output_dim, head.loss) == (2, "mean_absolute_error")


# --- structured data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["StructuredDataClassifier", "StructuredDataRegressor"])
def test_kinds_of_columns_are_two(task: str) -> None:
    with pytest.raises(ConfigError, match='column_types should be either "categorical" or "numerical"'):
        getattr(ak, task)(column_types={"age": "num", "parch": "categorical"})


def test_kinds_are_of_columns_that_there_are(tmp_path: Path) -> None:
    model = ak.StructuredDataClassifier(["age", "fare"], {"_age": "numerical"}, directory=tmp_path)
    with pytest.raises(ConfigError, match=r"column_names and column_types are mismatched.*Received: .*'_age'"):
        model.fit("train.csv", "survived")
    of_frame = ak.StructuredDataClassifier(column_types={"_age": "numerical"}, directory=tmp_path)
    with pytest.raises(ConfigError, match="mismatched"):
        of_frame.fit(TABLE, CLASSES)


def test_kinds_need_names(tmp_path: Path) -> None:
    model = ak.StructuredDataClassifier(column_types={"age": "numerical"}, directory=tmp_path)
    with pytest.raises(ConfigError, match="column_names must be specified"):
        model.fit(x=np.zeros((10, 3)), y=np.zeros(10))


def test_paths_of_files_are_refused_with_advice(tmp_path: Path) -> None:
    model = ak.StructuredDataClassifier(directory=tmp_path)
    with pytest.raises(ConfigError, match=r"Expected x to be a numpy array.*`pandas.read_csv` or `spark.read.csv`"):
        model.fit("train.csv", "survived")


def test_an_array_has_the_names_that_are_given(tmp_path: Path) -> None:
    model = ak.StructuredDataClassifier(["age", "sex"], {"age": "categorical"}, directory=tmp_path, max_trials=1)
    model.resource_bind(SimulatedBackend(1))
    model.fit(TABLE.to_numpy(), CLASSES, epochs=1, verbose=0)
    prepared = model._model._prepared
    assert prepared is not None
    assert [(c.name, (c.encoder or {}).get("kind")) for c in prepared.features] == [
        ("age", "categories"),
        ("sex", "categories"),
    ]
