"""Small data is dealt here, without a job of Spark, which would take longer to start than to run.

The rows come in the very order in which Spark would give them: the same shards, sorted by the same key.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cerebro_nas.data._deal import Deal
from cerebro_nas.data._deal import offsets
from cerebro_nas.data._deal import shard_of

if TYPE_CHECKING:
    from cerebro_nas.data._stage import StagedPart

LARGEST_BYTES = 128 << 20

_Words = NDArray[np.uint64]

# XXH64 by Yann Collet, for single words, with the seed that Spark's `xxhash64` begins with.
_SPARK_SEED = 42
_PRIME_1, _PRIME_2, _PRIME_3, _PRIME_4, _PRIME_5 = (
    np.uint64(prime)
    for prime in (
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )
)


def is_small(deal: Deal, row_bytes: int, seed: int) -> bool:
    """Whether to deal the rows here.

    Args:
        deal: how many rows there are.
        row_bytes: bytes of a staged row.
        seed: seed of the shuffle; beyond 64 bits it is a decimal for Spark, which hashes it in another way.
    """
    return deal.rows * row_bytes <= LARGEST_BYTES and -(2**63) <= seed < 2**63


def dealt(parts: Sequence[StagedPart], deal: Deal, seed: int, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read staged rows and yield them by shard, in random order within it: `names`, and `__shard`."""
    # One chunk: taking rows from several would join them anew for each shard.
    table = pa.concat_tables([pq.ParquetFile(part.path).read() for part in parts]).combine_chunks()
    shard = shards(table, parts, deal)
    order = np.lexsort((keys(table, seed), shard))
    cuts = np.searchsorted(shard, np.arange(deal.train_shards + deal.valid_shards + 1), sorter=order)
    table = table.select(list(names))
    for begin, end in zip(cuts[:-1], cuts[1:], strict=True):
        chosen = order[begin:end]
        rows = table.take(pa.array(chosen)).append_column("__shard", pa.array(shard[chosen], pa.int32()))
        yield from rows.to_batches()


def shards(table: pa.Table, parts: Sequence[StagedPart], deal: Deal) -> NDArray[np.int64]:
    """Number of each row's shard."""
    part, valid, idx = _numbers(table)
    train_number, valid_number = (idx + np.asarray(offsets(parts, split))[part] for split in ("train", "valid"))
    found: NDArray[np.int64] = shard_of(
        deal, train_number, valid_number, valid, divide=operator.floordiv, choose=np.where
    )
    return found


def keys(table: pa.Table, seed: int) -> NDArray[np.int64]:
    """Spark's `xxhash64(seed, __part, __valid, __idx)`."""
    part, valid, idx = _numbers(table)
    hashed = np.full(len(table), _SPARK_SEED, dtype=np.uint64)
    add_seed = _hash_int if -(2**31) <= seed < 2**31 else _hash_long
    hashed = add_seed(np.full(len(table), seed, dtype=np.int64), hashed)
    return _hash_long(idx, _hash_int(valid, _hash_int(part, hashed))).view(np.int64)


def _numbers(table: pa.Table) -> Iterator[NDArray[Any]]:
    return (table.column(name).to_numpy() for name in ("__part", "__valid", "__idx"))


def _hash_int(values: NDArray[Any], hashed: _Words) -> _Words:
    word = values.astype(np.int32).view(np.uint32).astype(np.uint64)
    hashed = (hashed + _PRIME_5 + np.uint64(4)) ^ (word * _PRIME_1)
    return _mixed(_rotated(hashed, 23) * _PRIME_2 + _PRIME_3)


def _hash_long(values: NDArray[np.int64], hashed: _Words) -> _Words:
    word = _rotated(values.view(np.uint64) * _PRIME_2, 31) * _PRIME_1
    hashed = (hashed + _PRIME_5 + np.uint64(8)) ^ word
    return _mixed(_rotated(hashed, 27) * _PRIME_1 + _PRIME_4)


def _rotated(words: _Words, bits: int) -> _Words:
    return (words << np.uint64(bits)) | (words >> np.uint64(64 - bits))


def _mixed(words: _Words) -> _Words:
    words = (words ^ (words >> np.uint64(33))) * _PRIME_2
    words = (words ^ (words >> np.uint64(29))) * _PRIME_3
    return words ^ (words >> np.uint64(32))
