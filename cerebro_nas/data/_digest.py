"""A digest of the rows of a DataFrame that does not depend on their order or on how they are partitioned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql import DataFrame

# Sums of these stay far below 64 bits for any number of rows.
_MODULUS = 2**31


class RowDigest:
    """Number of rows, exclusive or and sum of their hashes; two of them can be merged.

    Equal DataFrames have equal digests; different ones have different digests but for a chance of about 2**-64. It is
    no protection from somebody who wants two data sets to collide.
    """

    def __init__(self, rows: int = 0, xor: int = 0, total: int = 0) -> None:
        self.rows = rows
        self.xor = xor
        self.total = total

    def add(self, hashes: NDArray[np.int64]) -> None:
        """Take in hashes of rows (n,)."""
        self.rows += len(hashes)
        self.xor ^= int(np.bitwise_xor.reduce(hashes)) if len(hashes) else 0
        self.total += int((hashes % _MODULUS).sum())

    def merge(self, other: RowDigest) -> None:
        """Take in what another one has seen."""
        self.rows += other.rows
        self.xor ^= other.xor
        self.total += other.total

    def __str__(self) -> str:
        return f"{self.rows} rows {self.xor & 0xFFFFFFFFFFFFFFFF:016x}{self.total:016x}"


def row_hash(columns: Sequence[Column]) -> Column:
    """The hash of a row, 64 bits, as a column (Spark's `xxhash64`)."""
    from pyspark.sql import functions as F

    return F.xxhash64(*columns)


def digest_of(df: DataFrame, columns: Sequence[Column]) -> RowDigest:
    """Digest the rows of `columns` of a DataFrame: one Spark job, which reads everything and keeps nothing."""
    from pyspark.sql import functions as F

    hashed = df.select(row_hash(columns).alias("h"))
    row: Any = hashed.agg(
        F.count("h").alias("rows"),
        F.expr("bit_xor(h)").alias("xor"),
        F.sum(F.pmod(F.col("h"), F.lit(_MODULUS))).alias("total"),
    ).collect()[0]
    return RowDigest(row["rows"], row["xor"] or 0, row["total"] or 0)
