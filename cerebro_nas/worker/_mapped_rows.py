"""Rows of memory-mapped arrays, read from the disk once and without what is around them."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SPAN_BYTES = 4 << 20
_GAP_BYTES = 64 << 10
_ADVICE = hasattr(mmap.mmap, "madvise")


def take_rows(array: NDArray[Any], rows: NDArray[np.int32]) -> NDArray[Any]:
    """Copy rows of an array.

    Of a memory-mapped one they are read in the order of the file, and the system is told which parts of it come next.
    Left alone, it reads ahead of every page that is missing, by up to some megabytes as it has been set up: where rows
    are taken in random order and the file is larger than the memory left for it, that is a thousand times their bytes.

    Args:
        array: shape (n, ...), and of a mapped one the whole of what was mapped.
        rows: which rows, int32 of shape (m,).

    Returns:
        An array of shape (m, ...) in memory.
    """
    pages: Any = array.base
    if not isinstance(pages, mmap.mmap) or not _ADVICE or not len(rows):
        return array[rows]
    found = np.empty((len(rows), *array.shape[1:]), array.dtype)
    places = np.argsort(rows, kind="stable")
    ordered = rows[places]
    row_bytes = max(1, array.nbytes // max(1, len(array)))
    ends = _ends(ordered.astype(np.int64) * row_bytes, row_bytes)
    runs = list(zip([0, *ends[:-1]], ends, strict=True))
    first: int = array.offset  # type: ignore[attr-defined]
    spans = [(first + int(ordered[i]) * row_bytes, first + (int(ordered[j - 1]) + 1) * row_bytes) for i, j in runs]
    pages.madvise(mmap.MADV_RANDOM)
    _announce(pages, *spans[0])
    for (begin, end), following in zip(runs, [*spans[1:], None], strict=True):
        # While this run is copied, the disk reads the next one.
        if following is not None:
            _announce(pages, *following)
        found[places[begin:end]] = array[ordered[begin:end]]
    return found


def _ends(offsets: NDArray[np.int64], row_bytes: int) -> list[int]:
    """Where runs of rows end that are near to each other, and together not too long."""
    far = np.diff(offsets) > row_bytes + _GAP_BYTES
    cut = far | (np.diff(offsets // _SPAN_BYTES) != 0)
    return [*(np.flatnonzero(cut) + 1).tolist(), len(offsets)]


def _announce(pages: mmap.mmap, begin: int, end: int) -> None:
    begin -= begin % mmap.PAGESIZE
    pages.madvise(mmap.MADV_WILLNEED, begin, end - begin)
