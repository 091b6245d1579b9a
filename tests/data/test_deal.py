from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebro_nas.data._deal import SMALL_VALIDATION_BYTES
from cerebro_nas.data._deal import make_deal


@pytest.mark.case(28)
@given(st.integers(12, 2000), st.floats(0.001, 0.5), st.integers(1, 5), st.sampled_from([1, 1 << 40]))
def test_each_shard_gets_its_rows(rows: int, fraction: float, shards: int, row_bytes: int) -> None:
    deal = make_deal(rows, 0, fraction=fraction, num_shards=shards, row_bytes=row_bytes)
    counted = Counter(deal.place(number) for number in range(rows))
    assert deal.rows == rows
    assert deal.valid >= 1
    assert counted == {
        (split, index): deal.size(split, index)
        for split, count in (("train", deal.train_shards), ("valid", deal.valid_shards))
        for index in range(count)
    }
    sizes = [deal.size("train", index) for index in range(shards)]
    assert max(sizes) - min(sizes) <= 1


def test_validation_rows_are_spread_evenly() -> None:
    deal = make_deal(1000, 0, fraction=0.1, num_shards=2, row_bytes=1)
    numbers = [number for number in range(1000) if deal.place(number)[0] == "valid"]
    assert {later - earlier for earlier, later in zip(numbers, numbers[1:], strict=False)} == {10}


def test_a_large_validation_split_is_shared_out() -> None:
    rows = SMALL_VALIDATION_BYTES // 1000
    small = make_deal(2 * rows, 0, fraction=0.5, num_shards=4, row_bytes=1000)
    large = make_deal(2 * rows + 2, 0, fraction=0.5, num_shards=4, row_bytes=1000)
    assert (small.valid_shards, large.valid_shards) == (1, 4)


def test_marked_rows_are_kept() -> None:
    deal = make_deal(90, 10, fraction=None, num_shards=4, row_bytes=1)
    assert (deal.train, deal.valid, deal.drawn) == (90, 10, False)
