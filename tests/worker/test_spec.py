"""Specifications come back from their text, and a text that was changed gives one clear error."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import ShardSpec

CANDIDATE = CandidateSpec(
    "t", "{}", {"class_name": "Adam"}, ("mse", {"a": 1}), (("mae",), ()), {"n": {"mean": [0.5]}}, seed=2, parameters=3
)
COLUMN = ColumnSpec("x", (8, 8), "uint8", "npy")
SEARCH = SearchSpec(
    "data", "states", (ShardSpec("train", 0, "p", 1, 2),), ((COLUMN,), (COLUMN, COLUMN)), (COLUMN,), ({},), 7, 16
)


def test_they_come_back() -> None:
    assert CandidateSpec.from_json(CANDIDATE.to_json()) == CANDIDATE
    weighted = dataclasses.replace(CANDIDATE, loss_weights=(1.0, 0.5))
    assert CandidateSpec.from_json(weighted.to_json()) == weighted
    assert SearchSpec.from_json(SEARCH.to_json()) == SEARCH


@pytest.mark.case(24)
@pytest.mark.parametrize("kind", [CandidateSpec, SearchSpec])
@pytest.mark.parametrize("text", ["", "{", "null", "3", "[]", "[" * 200_000, "{}", '{"trial": "t"}', "9" * 5000])
def test_other_texts_are_refused(kind: type[CandidateSpec] | type[SearchSpec], text: str) -> None:
    with pytest.raises(ValueError, match="."):
        kind.from_json(text)


def test_candidates_of_earlier_versions_weigh_their_losses_alike_and_take_rows_as_they_are() -> None:
    earlier = dataclasses.asdict(CANDIDATE)
    del earlier["loss_weights"], earlier["transformation"]
    assert CandidateSpec.from_json(json.dumps(earlier)) == CANDIDATE


_PLAIN_COLUMN = {"name": "x", "shape": [], "dtype": "int32", "encoding": "scalar"}
_WRONG: list[tuple[CandidateSpec | SearchSpec, str, Any]] = [
    (CANDIDATE, "trial", 3),
    (CANDIDATE, "model", {}),
    (CANDIDATE, "optimizer", "adam"),
    (CANDIDATE, "loss", "mse"),
    (CANDIDATE, "metrics", [3]),
    (CANDIDATE, "adapted", {"n": [1.0]}),
    (CANDIDATE, "adapted", {"n": {"mean": [float("nan")]}}),
    (CANDIDATE, "adapted", {"n": {"mean": [1e400]}}),
    (CANDIDATE, "transformation", None),
    (CANDIDATE, "seed", "0"),
    (CANDIDATE, "seed", 10**30),
    (CANDIDATE, "parameters", True),
    (CANDIDATE, "parameters", -1),
    (CANDIDATE, "loss_weights", [0.5]),
    (CANDIDATE, "loss_weights", ["1", "1"]),
    (SEARCH, "data_url", None),
    (SEARCH, "shards", [{"split": "train"}]),
    (SEARCH, "shards", [3]),
    (SEARCH, "features", [[3]]),
    (SEARCH, "features", [3]),
    (SEARCH, "labels", [{"name": "x", "shape": [-1], "dtype": "uint8", "encoding": "npy"}]),
    (SEARCH, "labels", [{"name": "x", "shape": "8", "dtype": "uint8", "encoding": "npy"}]),
    (SEARCH, "labels", [{**_PLAIN_COLUMN, "encoder": {"kind": "image", "values": []}}]),
    (SEARCH, "targets", [3]),
    (SEARCH, "batch_size", 1.5),
    (SEARCH, "checkpoint", 1),
]


@pytest.mark.case(24)
@pytest.mark.parametrize(("spec", "field", "value"), _WRONG)
def test_a_field_of_another_type_is_named(spec: CandidateSpec | SearchSpec, field: str, value: Any) -> None:
    changed = {**dataclasses.asdict(spec), field: value}
    with pytest.raises(ValueError, match="specification.*Received: "):
        type(spec).from_json(json.dumps(changed))


@given(st.data(), st.sampled_from([CANDIDATE, SEARCH]))
def test_any_change_of_a_field_is_read_or_refused(data: st.DataObject, spec: CandidateSpec | SearchSpec) -> None:
    plain = dataclasses.asdict(spec)
    field = data.draw(st.sampled_from(sorted(plain)))
    leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))
    nested = st.recursive(
        leaves, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=3), x, max_size=3)
    )
    plain[field] = data.draw(nested)
    try:
        type(spec).from_json(json.dumps(plain))
    except ValueError:
        return


_ENCODERS = (
    {"kind": "categories", "values": ["a", "b"]},
    {"kind": "tokens", "vocabulary": ["the", "\u00e9"], "length": 4},
    {"kind": "image"},
)


@pytest.mark.parametrize("encoder", _ENCODERS)
def test_encoders_come_back(encoder: dict[str, Any]) -> None:
    search = dataclasses.replace(SEARCH, features=((dataclasses.replace(COLUMN, encoder=encoder),),))
    assert SearchSpec.from_json(search.to_json()) == search


def test_columns_without_an_encoder_are_read_as_before() -> None:
    plain = {**dataclasses.asdict(SEARCH), "labels": [_PLAIN_COLUMN]}
    assert SearchSpec.from_json(json.dumps(plain)).labels == (ColumnSpec("x", (), "int32", "scalar"),)


def test_columns_with_encoders_are_keys_and_differ() -> None:
    one, other = (dataclasses.replace(COLUMN, encoder=encoder) for encoder in _ENCODERS[:2])
    assert {one: 1, other: 2}[other] == 2


@pytest.mark.parametrize(
    "encoder",
    [
        *("image", [], {}, {"kind": "other"}, {"kind": ["image"]}, {"kind": "image", "values": []}),
        *({"kind": "categories"}, {"kind": "categories", "values": "ab"}, {"kind": "categories", "values": [1]}),
        {"kind": "categories", "values": ["a", "a"]},
        *({"kind": "tokens", "vocabulary": ["a"], "length": length} for length in (0, -1, 1.5, True, "3", None)),
        {"kind": "tokens", "vocabulary": "/etc/passwd", "length": 3},
    ],
)
def test_other_encoders_are_refused(encoder: Any) -> None:
    plain = {**dataclasses.asdict(SEARCH), "labels": [{**_PLAIN_COLUMN, "encoder": encoder}]}
    with pytest.raises(ValueError, match="Received: encoder="):
        SearchSpec.from_json(json.dumps(plain))
