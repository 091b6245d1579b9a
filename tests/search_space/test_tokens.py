"""A candidate with a small table of words takes the rarer ones for unknown, and never looks beyond its table."""

from __future__ import annotations

import dataclasses
from typing import Any

import autokeras as ak
import numpy as np
import pytest

from cerebro_nas.search_space import SearchSpace
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import build_model

WORDS = 60


def _text(words: int) -> ColumnSpec:
    vocabulary = [f"w{number}" for number in range(words)]
    return ColumnSpec("text", (6,), "int32", "list", {"kind": "tokens", "vocabulary": vocabulary, "length": 6})


def _space(block: Any, prepare: Any, words: int = WORDS) -> SearchSpace:
    node = ak.TextInput()
    reduced = block(node) if isinstance(block, ak.TextBlock) else ak.Flatten()(block(node))
    space = SearchSpace(node, ak.ClassificationHead()(reduced))
    space.configure(prepare(features=(_text(words),)), batch_size=32, epochs=1)
    return space


@pytest.mark.parametrize("block", [ak.Embedding(max_features=20), ak.TextBlock(max_tokens=19)])
def test_words_beyond_the_table_are_unknown_ones(block: Any, prepare: Any) -> None:
    space = _space(block, prepare)
    model = build_model(space.build(space.explore(), trial="t", seed=1))
    rows = np.array([[2, 19, 20, 61, 1, 0], [2, 19, 1, 1, 1, 0]], dtype=np.int32)
    first, second = model.predict(rows, verbose=0)
    assert np.array_equal(first, second)
    other = model.predict(np.array([[2, 18, 1, 1, 1, 0]], dtype=np.int32), verbose=0)[0]
    assert not np.array_equal(first, other)


def test_a_table_that_holds_all_words_needs_nothing_more(prepare: Any) -> None:
    space = _space(ak.Embedding(max_features=WORDS + 2), prepare)
    assert "Where" not in space.build(space.explore(), trial="t").model


def test_the_size_of_the_vocabulary_stays_tunable(prepare: Any) -> None:
    space = _space(ak.TextBlock(), prepare, words=3000)
    known = space.explore()
    assert [hp.values for hp in known.space if hp.name == "text_block_1/max_tokens"] == [[500, 5000, 20000]]
    sizes = {}
    for tokens in (500, 20000):
        hp = known.copy()
        hp.values["text_block_1/max_tokens"] = tokens
        spec = space.build(hp, trial="t")
        sizes[tokens] = ("Where" in spec.model, dataclasses.asdict(spec)["parameters"])
    assert sizes[500][0]
    assert not sizes[20000][0]
    assert sizes[20000][1] > sizes[500][1]
