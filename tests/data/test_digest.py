"""The digest of a data set's rows, by which a search that is resumed knows its data again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cerebro_nas.data import prepare_data
from cerebro_nas.data import source_digest
from cerebro_nas.data._digest import RowDigest
from cerebro_nas.storage import LocalStore


def test_parts_in_any_order_give_the_digest_of_the_whole() -> None:
    hashes = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 1000, dtype=np.int64)
    whole, parts = RowDigest(), RowDigest()
    whole.add(hashes)
    for part in np.array_split(hashes[::-1], 7):
        digest = RowDigest()
        digest.add(part)
        parts.merge(digest)
    assert str(whole) == str(parts)
    parts.add(hashes[:1])
    assert str(whole) != str(parts)


def test_two_equal_rows_more_are_seen() -> None:
    one, more = RowDigest(), RowDigest()
    one.add(np.array([1, 2], np.int64))
    more.add(np.array([1, 2, 5, 5], np.int64))
    assert str(one) != str(more)


@pytest.mark.spark
# Py4J leaves sockets to the garbage collector.
@pytest.mark.filterwarnings("default", "ignore:unclosed <socket:ResourceWarning")
@pytest.mark.case(33)
def test_preparation_and_resumption_see_the_same_rows(spark: Any, tmp_path: Path) -> None:
    from pyspark.ml.linalg import Vectors

    rows = [(Vectors.dense([i, 0.5 * i]), i % 2, i % 5 == 0) for i in range(40)]
    df = spark.createDataFrame(rows, ["features", "labels", "held"])
    names: dict[str, Any] = {"feature_columns": ["features"], "label_columns": ["labels"], "validation": "held"}
    prepared = prepare_data(df, store=LocalStore(tmp_path), name="d", num_shards=2, **names)
    source = prepared.settings["source"]
    assert source_digest(df.repartition(3).orderBy("labels"), **names) == source
    assert source_digest(df.where("labels = 0"), **names) != source
    other = spark.createDataFrame([*rows[:-1], (Vectors.dense([39, 1.0]), 1, False)], df.schema)
    assert source_digest(other, **names) != source
