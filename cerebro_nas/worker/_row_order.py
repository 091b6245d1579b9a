"""In which order a visit trains the rows of a shard."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from cerebro_nas.hopper import Unit

_WHOLE_BYTES = 1 << 30
_WINDOW_BYTES = 128 << 20
# Long enough to be read at the speed of the disk, short enough for hundreds of them in a window.
_BLOCK_BYTES = 512 << 10


def row_order(seed: int, unit: Unit, rows: int, row_bytes: int) -> NDArray[np.int32]:
    """Shuffle the rows of a train unit: the same way for the same seed, trial, epoch and shard, whatever the attempt.

    A shard of more than 1 GB is read from its file in each visit. To read its rows one by one, in any order, would mean
    tens of times their bytes, so blocks of 512 KB are shuffled, and then the rows of each 128 MB of blocks. Rows
    are next to each other by chance, as preparation shuffles them. The memory of a worker has no part in it: results
    do not depend on where a candidate was trained.

    Args:
        seed: of the search.
        unit: what is trained.
        rows: number of rows of its shard.
        row_bytes: bytes of a row.

    Returns:
        A permutation of the numbers from 0 to `rows - 1`.
    """
    index = unit.shard.index if unit.shard is not None else 0
    entropy = [seed, zlib.crc32(unit.trial.encode()), unit.epoch, index]
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
    if rows * row_bytes <= _WHOLE_BYTES:
        return generator.permutation(rows).astype(np.int32)
    block = max(1, _BLOCK_BYTES // row_bytes)
    begins = generator.permutation(-(-rows // block)).astype(np.int32) * np.int32(block)
    inside = np.arange(block, dtype=np.int32)
    order: NDArray[np.int32] = np.add.outer(begins, inside).reshape(-1)
    order = order[order < rows]
    window = block * max(1, _WINDOW_BYTES // (block * row_bytes))
    for begin in range(0, rows, window):
        generator.shuffle(order[begin : begin + window])
    return order
