"""Columns that are not numbers: categories, texts, pictures, nested lists; and tables that are no DataFrame."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image

from cerebro_nas.data import LocalRows
from cerebro_nas.data import PreparedData
from cerebro_nas.data import load_prepared
from cerebro_nas.data import prepare_data
from cerebro_nas.data import source_digest
from cerebro_nas.errors import DataError
from cerebro_nas.storage import LocalStore
from cerebro_nas.storage import read_shard_pieces

Prepare = Callable[..., PreparedData]
ROWS = 40


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


@pytest.fixture
def prepare(store: LocalStore) -> Prepare:
    def prepare(columns: dict[str, Any], **changed: Any) -> PreparedData:
        columns = {"label": [i % 2 for i in range(ROWS)], **columns}
        features = [name for name in columns if name not in ("label", "weight")]
        given = {"feature_columns": features, "label_columns": ["label"], "num_shards": 2, "seed": 1, **changed}
        return prepare_data(LocalRows(pa.table(columns)), store=store, name="d", **given)

    return prepare


def _read(prepared: PreparedData, name: str) -> NDArray[Any]:
    columns = [c for c in (*prepared.features, *prepared.labels, prepared.weights) if c is not None]
    pieces = [piece[name] for shard in prepared.shards for piece in read_shard_pieces(prepared.url, shard, columns)]
    return np.concatenate(pieces)


def test_categories_become_positions_in_sorted_order(prepare: Prepare, store: LocalStore) -> None:
    found = prepare({"town": [["Rome", "Bern", "Oslo", "Bern"][i % 4] for i in range(ROWS)]}, uses={"town": "category"})
    (town,) = found.features
    assert town.encoder == {"kind": "categories", "values": ["Bern", "Oslo", "Rome"]}
    assert sorted(_read(found, "town").tolist()) == [0] * 20 + [1] * 10 + [2] * 10
    statistics = found.statistics["town"]
    assert (statistics.classes, statistics.class_counts) == (("Bern", "Oslo", "Rome"), (20, 10, 10))
    assert statistics.mean == (0.75,)
    assert statistics.variance == pytest.approx((0.6875,))
    assert load_prepared(store, "d") == found


def test_numbers_can_be_categories(prepare: Prepare) -> None:
    found = prepare({"size": [float(i % 3) for i in range(ROWS)]}, uses={"size": "category"})
    assert found.features[0].encoder == {"kind": "categories", "values": ["0", "1", "2"]}


def test_texts_become_numbers_of_words(prepare: Prepare) -> None:
    texts = ["The cat, the DOG!" if i % 2 else "a dog" for i in range(ROWS)]
    found = prepare({"text": texts}, uses={"text": "text"})
    (text,) = found.features
    assert text.encoder is not None
    # "the" and "dog" occur 40 times each; the others 20 times.
    assert text.encoder["vocabulary"] == ["the", "dog", "cat", "a"]
    assert text.shape == (4,)
    rows = {tuple(row) for row in _read(found, "text").tolist()}
    assert rows == {(2, 4, 2, 3), (5, 3, 0, 0)}
    assert found.statistics["text"].class_counts == (20, 40, 20, 20)


def test_empty_texts_are_rows_of_nothing(prepare: Prepare) -> None:
    found = prepare({"text": [""] * ROWS}, uses={"text": "text"})
    assert _read(found, "text").tolist() == [[0]] * ROWS


def _png(value: int, size: tuple[int, int] = (4, 3), mode: str = "RGB") -> bytes:
    sink = io.BytesIO()
    Image.new(mode, size, value if mode == "L" else (value, 0, 255)).save(sink, "PNG")
    return sink.getvalue()


def test_encoded_pictures_are_decoded_once(prepare: Prepare) -> None:
    found = prepare({"picture": [_png(i) for i in range(ROWS)]})
    (picture,) = found.features
    assert (picture.shape, picture.dtype, picture.encoder) == ((3, 4, 3), "uint8", {"kind": "image"})
    pixels = _read(found, "picture")
    assert sorted(pixels[:, 0, 0, 0].tolist()) == list(range(ROWS))
    assert (pixels[..., 2] == 255).all()


def test_pictures_are_made_to_fit_the_shape_that_is_asked_for(prepare: Prepare) -> None:
    pictures = [_png(i, (4 + i % 2, 3), "L") for i in range(ROWS)]
    found = prepare({"picture": pictures}, input_shape=(6, 6))
    assert found.features[0].shape == (6, 6)
    assert sorted(_read(found, "picture")[:, 0, 0].tolist()) == list(range(ROWS))


@pytest.mark.case(29)
def test_pictures_of_differing_size_and_broken_ones_are_told_at_once(prepare: Prepare) -> None:
    pictures = [_png(i) for i in range(ROWS)]
    pictures[3], pictures[5] = _png(1, (9, 9)), b"\x89PNG\r\n\x1a\n broken"
    with pytest.raises(DataError) as error:
        prepare({"picture": pictures, "n": [None, *[1.0] * (ROWS - 1)]})
    message = str(error.value)
    assert "a tensor that is not uint8 of shape (3, 4, 3); pass `input_shape`" in message
    assert "a picture that cannot be read" in message
    assert "column 'n': null in 1 of 40 rows, for example rows [0]" in message


def test_nested_lists_keep_their_shape(prepare: Prepare) -> None:
    found = prepare({"grid": [[[i, 1, 2], [3, 4, 5]] for i in range(ROWS)]})
    assert found.features[0].shape == (2, 3)
    assert sorted(_read(found, "grid")[:, 0, 0].tolist()) == list(range(ROWS))


@pytest.mark.case(29)
def test_ragged_nested_lists_are_counted(prepare: Prepare) -> None:
    grid = [[[i, 1], [2, 3]] for i in range(ROWS)]
    grid[2], grid[7] = [[1], [2, 3]], [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(DataError) as error:
        prepare({"grid": grid})
    assert "nested lists of differing length, or with nulls in 1 of 40 rows, for example rows [2]" in str(error.value)
    assert "shape is not (2, 2) in 1 of 40 rows, for example rows [7]" in str(error.value)


def test_weights_are_a_column_of_their_own(prepare: Prepare, store: LocalStore) -> None:
    weights = np.linspace(0, 2, ROWS)
    found = prepare({"x": np.arange(ROWS), "weight": weights}, weight_column="weight")
    assert found.weights is not None
    assert [column.name for column in found.features] == ["x"]
    assert np.allclose(np.sort(_read(found, "weight")), weights)
    assert load_prepared(store, "d") == found


@pytest.mark.case(29)
def test_negative_weights_are_refused(prepare: Prepare) -> None:
    with pytest.raises(DataError, match=r"column 'weight': a weight below 0 in 1 of 40 rows, for example rows \[4\]"):
        prepare(
            {"x": np.arange(ROWS), "weight": [-1.0 if i == 4 else 1.0 for i in range(ROWS)]}, weight_column="weight"
        )


@pytest.mark.case(29)
def test_weights_that_are_all_zero_are_refused(prepare: Prepare) -> None:
    with pytest.raises(DataError, match="column 'weight': all weights are 0"):
        prepare({"x": np.arange(ROWS), "weight": np.zeros(ROWS)}, weight_column="weight")


@pytest.mark.case(29)
def test_dates_are_refused_with_advice(prepare: Prepare) -> None:
    """In the words of where they came from: Spark's functions are nothing to users of arrays."""
    with pytest.raises(DataError) as caught:
        prepare({"when": pa.array([0] * ROWS, pa.timestamp("s"))})
    text = str(caught.value)
    for part in ("The arrays cannot be used", "with pandas' `.astype", "`.dt.year`", "and arrays with columns"):
        assert part in text
    assert "Spark" not in text
    assert "DataFrame" not in text


@pytest.mark.case(29)
def test_strings_for_a_plain_input_are_refused_with_advice(prepare: Prepare) -> None:
    with pytest.raises(DataError, match="feed it to a `StructuredDataInput`"):
        prepare({"town": ["a"] * ROWS})


def test_the_digest_of_a_table_follows_its_rows() -> None:
    def digest(values: list[int]) -> str:
        rows = LocalRows(pa.table({"x": values, "y": values}))
        return source_digest(rows, feature_columns=["x"], label_columns=["y"], validation=0.2)

    assert digest([1, 2, 3]) == digest([1, 2, 3])
    assert digest([1, 2, 3]) != digest([1, 2, 4])
    assert digest([1, 2, 3]).startswith("3 rows ")


def test_a_partition_names_its_most_frequent_words_only(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cerebro_nas.data._stage._SENT_WORDS", {"category": 3, "text": 2})
    towns = [f"t{i}" if i < 5 else ["a", "b"][i % 2] for i in range(ROWS)]
    texts = [f"w{i} x y" for i in range(ROWS)]
    found = prepare({"town": towns, "text": texts}, uses={"town": "category", "text": "text"})
    town, text = found.features
    assert town.encoder == {"kind": "categories", "values": ["a", "b", "t0"]}
    assert text.encoder is not None
    assert sorted(text.encoder["vocabulary"]) == ["x", "y"]
    assert _read(found, "town").tolist().count(3) == 4


@pytest.mark.parametrize("given", [(), ("label",)])
def test_numbers_to_regress_on_are_no_classes_to_be_missed(
    prepare: Prepare, caplog: pytest.LogCaptureFixture, given: tuple[str, ...]
) -> None:
    prepare({"x": np.arange(ROWS), "label": list(range(ROWS))}, number_labels=given)
    assert ("occur in validation rows only" in caplog.text or "occurs in" in caplog.text) == (not given)
