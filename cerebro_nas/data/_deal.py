"""How rows are dealt to the splits and shards: by their number in the data set, in whole-number arithmetic.

Rows are permuted within each batch first, dealt round-robin, and put in random order within their shard: a seeded
shuffle whose shard sizes differ by one row at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql import DataFrame

    from cerebro_nas.data._stage import StagedPart

SMALL_VALIDATION_BYTES = 64 << 20


@dataclass(frozen=True)
class Deal:
    """How many rows go where.

    Attributes:
        train: training rows; `valid` validation rows.
        train_shards: shards of the training split; `valid_shards` of the other.
        drawn: whether validation rows are drawn here (else a column marked them).
    """

    train: int
    valid: int
    train_shards: int
    valid_shards: int
    drawn: bool

    @property
    def rows(self) -> int:
        """All rows."""
        return self.train + self.valid

    def place(self, number: int) -> tuple[str, int]:
        """Split and shard of row `number`, for drawn validation rows: the rule that `assign` has Spark compute."""
        before = number * self.valid // self.rows
        if (number + 1) * self.valid // self.rows > before:
            return "valid", before % self.valid_shards
        return "train", (number - before) % self.train_shards

    def size(self, split: str, index: int) -> int:
        """Rows of a shard."""
        rows, shards = (self.train, self.train_shards) if split == "train" else (self.valid, self.valid_shards)
        return rows // shards + (index < rows % shards)


def make_deal(train: int, valid: int, *, fraction: float | None, num_shards: int, row_bytes: int) -> Deal:
    """Decide on the sizes.

    Args:
        train: rows that are no validation rows yet.
        valid: rows that a column marked for validation.
        fraction: share of the rows to draw for validation; None if a column marked them.
        num_shards: training shards.
        row_bytes: bytes of a decoded row.
    """
    if fraction is not None:
        valid = max(1, round(train * fraction))
        train -= valid
    # A small validation split is one shard that every worker holds, so that no candidate hops to be evaluated.
    shards = 1 if valid * row_bytes <= SMALL_VALIDATION_BYTES else num_shards
    return Deal(train, valid, num_shards, min(shards, max(1, valid)), fraction is not None)


def assign(staged: DataFrame, parts: Sequence[StagedPart], deal: Deal, seed: int) -> DataFrame:
    """Add `__shard` (training shards first) and `__key`, the place within it."""
    from pyspark.sql import functions as F

    number = F.col("__idx") + F.element_at(F.lit(_offsets(parts, "train")), F.col("__part") + 1)
    if deal.drawn:
        valid, total = F.lit(deal.valid), F.lit(deal.rows)
        before = _div(number * valid, total)
        is_valid = _div((number + 1) * valid, total) > before
        train_index, valid_index = number - before, before
    else:
        is_valid = F.col("__valid")
        train_index = number
        valid_index = F.col("__idx") + F.element_at(F.lit(_offsets(parts, "valid")), F.col("__part") + 1)
    shard = F.when(is_valid, deal.train_shards + valid_index % deal.valid_shards).otherwise(
        train_index % deal.train_shards
    )
    return staged.withColumn("__shard", shard.cast("int")).withColumn(
        "__key", F.xxhash64(F.lit(seed), F.col("__part"), F.col("__valid"), F.col("__idx"))
    )


def _div(one: Column, other: Column) -> Column:
    from pyspark.sql import functions as F

    # Whole-number division: `/` would go through doubles, which cannot hold large products.
    return F.call_function("div", one, other) if hasattr(F, "call_function") else F.floor(one / other)


def _offsets(parts: Sequence[StagedPart], split: str) -> list[int]:
    """Rows of the split in the partitions before each one, by number of the partition."""
    by_partition = {part.partition: getattr(part, split) for part in parts}
    offsets, total = [], 0
    for partition in range(max(by_partition) + 1):
        offsets.append(total)
        total += by_partition.get(partition, 0)
    return offsets
