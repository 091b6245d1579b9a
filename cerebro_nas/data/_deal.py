"""How rows are dealt to the splits and shards: by their number in the data set, in whole-number arithmetic.

Rows are permuted within each batch first, dealt round-robin, and put in random order within their shard: a seeded
shuffle whose shard sizes differ by one row at most.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

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
        """Split and shard of row `number`, for drawn validation rows: `shard_of` for one row."""
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

    def number(split: str) -> Column:
        return F.col("__idx") + F.element_at(F.lit(offsets(parts, split)), F.col("__part") + 1)

    def choose(condition: Column, one: Column, other: Column) -> Column:
        return F.when(condition, one).otherwise(other)

    shard = shard_of(deal, number("train"), number("valid"), F.col("__valid"), divide=_div, choose=choose)
    return staged.withColumn("__shard", shard.cast("int")).withColumn(
        "__key", F.xxhash64(F.lit(seed), F.col("__part"), F.col("__valid"), F.col("__idx"))
    )


def shard_of(
    deal: Deal,
    train_number: Any,
    valid_number: Any,
    marked: Any,
    *,
    divide: Callable[[Any, int], Any],
    choose: Callable[[Any, Any, Any], Any],
) -> Any:
    """Number of each row's shard, training shards first: for columns of Spark as for arrays of NumPy.

    Args:
        deal: how many rows go where.
        train_number: number of each row among the training rows.
        valid_number: its number among the validation rows.
        marked: whether it is a validation row; without effect where they are drawn.
        divide: whole-number division.
        choose: the second where the first is true, else the third.
    """
    if deal.drawn:
        before = divide(train_number * deal.valid, deal.rows)
        marked = divide((train_number + 1) * deal.valid, deal.rows) > before
        train_number, valid_number = train_number - before, before
    return choose(marked, deal.train_shards + valid_number % deal.valid_shards, train_number % deal.train_shards)


def _div(one: Column, other: int) -> Column:
    from pyspark.sql import functions as F

    # Whole-number division: `/` would go through doubles, which cannot hold large products.
    return F.call_function("div", one, F.lit(other)) if hasattr(F, "call_function") else F.floor(one / other)


def offsets(parts: Sequence[StagedPart], split: str) -> list[int]:
    """Rows of the split in the partitions before each one, by number of the partition."""
    by_partition = {part.partition: getattr(part, split) for part in parts}
    before, total = [], 0
    for partition in range(max(by_partition) + 1):
        before.append(total)
        total += by_partition.get(partition, 0)
    return before
