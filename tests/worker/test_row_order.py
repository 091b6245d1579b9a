from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import Unit
from cerebro_nas.worker._row_order import row_order

_GB = 1 << 30
_WINDOW = 128 << 20


def _unit(trial: str = "0", epoch: int = 0, shard: int = 0, attempt: int = 0) -> Unit:
    return Unit(trial, "train", epoch, Shard("train", shard), attempt)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5000), st.sampled_from([1, 3000, 1 << 18, 1 << 20, 3 << 20, 1 << 30]), st.integers(0, 2**32))
def test_every_row_comes_once(rows: int, row_bytes: int, seed: int) -> None:
    order = row_order(seed, _unit(), rows, row_bytes)
    assert order.dtype == np.int32
    assert np.array_equal(np.sort(order), np.arange(rows))


@pytest.mark.parametrize("row_bytes", [8, 3 << 20])
def test_what_the_order_follows_from(row_bytes: int) -> None:
    def order(seed: int = 0, **of: int | str) -> list[int]:
        return list(row_order(seed, _unit(**of), 500, row_bytes))  # type: ignore[arg-type]

    assert order() == order() == order(attempt=3)
    others = [order(seed=1), order(trial="1"), order(epoch=1), order(shard=1)]
    assert order() not in others
    assert len({tuple(other) for other in others}) == len(others)


def test_a_shard_that_is_read_from_its_file_is_read_once() -> None:
    row_bytes, rows = 2000, 1_000_000
    order = row_order(0, _unit(), rows, row_bytes)
    piece = _WINDOW // row_bytes
    read_ahead = (128 << 10) // row_bytes
    # What pieces of an eighth of a gigabyte, each gathered row by row, make the system read.
    touched = sum(len(np.unique(order[begin : begin + piece] // read_ahead)) for begin in range(0, rows, piece))
    assert touched * read_ahead < 2 * rows
    first = order[:piece]
    assert np.unique(first // (rows // 10)).size == 10, "from all over the shard"
    assert np.mean(np.abs(np.diff(first)) < read_ahead) < 0.02, "and not in blocks"


def test_a_shard_that_fits_into_memory_is_shuffled_as_a_whole() -> None:
    row_bytes = 2000
    order = row_order(0, _unit(), _GB // row_bytes, row_bytes)
    piece = order[: _WINDOW // row_bytes]
    blocks = (512 << 10) // row_bytes
    assert len(np.unique(piece // blocks)) > 0.99 * len(order) / blocks
