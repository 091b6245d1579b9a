from __future__ import annotations

import io

import numpy as np
import pytest

from cerebro_nas.data._write import encode
from cerebro_nas.worker import ColumnSpec


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64"])
@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (4, 1, 2)])
def test_tensors_are_what_numpy_saves(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(100, 20, size=(7, *shape)).astype(dtype)
    column = ColumnSpec("image", shape, dtype, "npy")
    for given in (values, np.asfortranarray(values), values[::2]):
        for row, found in zip(given, encode(given, column).to_pylist(), strict=True):
            stream = io.BytesIO()
            np.save(stream, np.ascontiguousarray(row))
            assert found == stream.getvalue()
