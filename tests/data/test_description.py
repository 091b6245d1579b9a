"""`statistics.json` comes back as it was written, and a file that was changed gives one clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.data import ColumnStatistics
from cerebro_nas.data import PreparedData
from cerebro_nas.data import load_prepared
from cerebro_nas.data._prepared import save_prepared
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.storage import LocalStore
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import ShardSpec

pytestmark = pytest.mark.case(24)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def _prepared(store: LocalStore) -> PreparedData:
    moments = ColumnStatistics("x", 9, 0, 0.0, 1.0, (0.5,), (0.25,))
    classes = ColumnStatistics("y", 9, 0, None, None, (), (), ("a", "b"), (4, 5))
    return PreparedData(
        url=store.data_url("d"),
        fingerprint="f",
        features=(
            ColumnSpec("x", (8, 8, 1), "uint8", "npy"),
            ColumnSpec("c", (), "int32", "scalar", {"kind": "categories", "values": ["a"]}),
        ),
        labels=(ColumnSpec("y", (), "str", "scalar"),),
        shards=(ShardSpec("train", 0, "train/p", 8, 100, "s"), ShardSpec("valid", 0, "valid/p", 1, 10, "s")),
        statistics={"x": moments, "y": classes},
        settings={"seed": 0},
    )


def _plain(store: LocalStore) -> Any:
    save_prepared(store, _prepared(store))
    return json.loads(store.read_bytes(_url(store)))


def _url(store: LocalStore) -> str:
    return f"{store.data_url('d')}/statistics.json"


def test_it_comes_back(store: LocalStore) -> None:
    save_prepared(store, _prepared(store))
    assert load_prepared(store, "d") == _prepared(store)


def test_columns_written_before_there_were_encoders_have_none(store: LocalStore) -> None:
    plain = _plain(store)
    for column in plain["features"]:
        del column["encoder"]
    store.write_bytes(_url(store), json.dumps(plain).encode())
    assert [spec.encoder for spec in load_prepared(store, "d").features] == [None, None]


@pytest.mark.parametrize("encoder", [3, {"kind": "categories", "values": [1]}, {"kind": "other"}])
def test_an_encoder_that_is_none_is_refused(store: LocalStore, encoder: Any) -> None:
    plain = _plain(store)
    plain["features"][0]["encoder"] = encoder
    store.write_bytes(_url(store), json.dumps(plain).encode())
    with pytest.raises(CorruptStateError, match="encoder"):
        load_prepared(store, "d")


@pytest.mark.parametrize("data", [b"", b"{", b"null", b"3", b"[]", b"{}", b"[" * 200_000, b"\xff\xfe", b"9" * 5000])
def test_another_file_is_damaged(store: LocalStore, data: bytes) -> None:
    store.write_bytes(_url(store), data)
    with pytest.raises(CorruptStateError, match="statistics.json is damaged.*Prepare the data anew"):
        load_prepared(store, "d")


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("version", 99, "version 99 is not 1"),
        ("fingerprint", 3, "fingerprint=3"),
        ("features", {}, "features="),
        ("features", [3], "features="),
        ("features/0/shape", [-1], "shape="),
        ("features/0/shape", [10**30], "shape="),
        ("features/0/shape", "888", "shape="),
        ("features/0/shape", [1] * 40, "shape="),
        ("features/0/encoding", "pickle", "encoding='pickle'"),
        ("shards/0/split", "test", "split='test'"),
        ("shards/0/rows", -1, "rows=-1"),
        ("shards/0/rows", True, "rows=True"),
        ("shards/0/rows", 1e400, "rows=inf"),
        ("shards/0/path", "../../other/train/p", "path="),
        ("shards/0/path", "/etc/passwd", "path="),
        ("shards/0/path", "", "path="),
        ("statistics", [], "statistics="),
        ("statistics/x", None, "should be an object"),
        ("statistics/x/mean", [float("nan")], "mean="),
        ("statistics/x/mean", [], "differing length"),
        ("statistics/x/minimum", "0", "minimum="),
        ("statistics/y/classes", ["a"], "differing length"),
        ("statistics/y/classes", [["a"], ["b"]], "classes="),
        ("statistics/y/class_counts", [1.5, 2], "class_counts="),
        ("settings", None, "settings=None"),
    ],
)
def test_what_is_amiss_is_named(store: LocalStore, place: str, value: Any, told: str) -> None:
    plain = _plain(store)
    *path, last = [int(part) if part.isdigit() else part for part in place.split("/")]
    node = plain
    for part in path:
        node = node[part]
    node[last] = value
    store.write_bytes(_url(store), json.dumps(plain).encode())
    with pytest.raises(CorruptStateError) as caught:
        load_prepared(store, "d")
    assert told in str(caught.value)


@pytest.mark.parametrize("name", ["version", "features", "shards", "statistics", "settings", "fingerprint"])
def test_a_part_that_is_missing_is_named(store: LocalStore, name: str) -> None:
    plain = _plain(store)
    del plain[name]
    store.write_bytes(_url(store), json.dumps(plain).encode())
    with pytest.raises(CorruptStateError, match=name):
        load_prepared(store, "d")


_LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))
_TREES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_is_read_or_damaged(store: LocalStore, data: st.DataObject) -> None:
    plain = _plain(store)
    node: Any = plain
    for _ in range(data.draw(st.integers(0, 3))):
        inner = [key for key in _keys(node) if isinstance(node[key], (dict, list)) and node[key]]
        if not inner:
            break
        node = node[data.draw(st.sampled_from(inner))]
    node[data.draw(st.sampled_from(_keys(node)))] = data.draw(_TREES)
    store.write_bytes(_url(store), json.dumps(plain).encode())
    try:
        load_prepared(store, "d")
    except CorruptStateError:
        return


def _keys(node: Any) -> list[Any]:
    return list(node) if isinstance(node, dict) else list(range(len(node)))
