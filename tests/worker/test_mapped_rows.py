from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.worker import _mapped_rows
from cerebro_nas.worker._mapped_rows import take_rows


def _mapped(path: Path, array: Any) -> Any:
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=array.dtype, shape=array.shape)
    mapped[:] = array
    return mapped


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.integers(1, 3000), st.sampled_from([(), (3,), (500,), (4, 5)]))
def test_the_same_as_indexing(tmp_path: Path, data: st.DataObject, rows: int, shape: tuple[int, ...]) -> None:
    array = np.arange(rows * int(np.prod(shape)), dtype=np.float32).reshape(rows, *shape)
    mapped = _mapped(tmp_path / "x.npy", array)
    picked = np.array(data.draw(st.lists(st.integers(0, rows - 1), max_size=50)), np.int32)
    for order in (picked, np.arange(rows, dtype=np.int32)):
        for source in (mapped, array):
            found = take_rows(source, order)
            assert found.dtype == array.dtype
            assert np.array_equal(found, array[order])
            assert not isinstance(found.base, mmap.mmap)


def test_what_is_announced_is_what_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, row_bytes = 40_000, 2000
    array = np.zeros((rows, row_bytes // 4), np.float32)
    mapped = _mapped(tmp_path / "x.npy", array)
    spans: list[tuple[int, int]] = []
    monkeypatch.setattr(_mapped_rows, "_announce", lambda pages, begin, end: spans.append((begin, end)))
    generator = np.random.default_rng(0)
    blocks = [np.arange(begin, begin + 262, dtype=np.int32) for begin in (30_000, 2_100, 17_000)]
    picked = np.concatenate(blocks)
    generator.shuffle(picked)
    take_rows(mapped, picked)
    assert spans == [(128 + b * row_bytes, 128 + (b + 262) * row_bytes) for b in (2_100, 17_000, 30_000)]
    spans.clear()
    # All over the file, one after the other and no more than some megabytes at a time.
    take_rows(mapped, generator.permutation(rows)[: rows // 4].astype(np.int32))
    assert spans == sorted(spans)
    assert all(end - begin <= 5 << 20 for begin, end in spans)
    assert sum(end - begin for begin, end in spans) <= array.nbytes
