"""Make a table in the shape of Criteo's click logs, at any size, with Spark.

The table has what makes such data hard, and nothing of the original: 13 counts with long tails (I1 ... I13), 26 columns
of strings of which a few are very frequent and most are seen once (C1 ... C26, with as many different values as the
original has, up to ten million), holes in both, and a label that depends on some of them and on pairs of them. About a
quarter of the rows are clicks. Every value is an expression of the row's number, so no row ever passes through the
driver, and the same arguments give the same rows.

    python examples/make_criteo.py --rows 1000000 --path /tmp/criteo
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from typing import TYPE_CHECKING

from cerebro_nas.backend import local_spark_session

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

# Different values that each column of strings may have: those of Criteo's Kaggle table.
VOCABULARIES = (
    *(1460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5_683, 8_351_593, 3_194),
    *(27, 14_992, 5_461_306, 10, 5_652, 2_173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572),
)
NUMBERS = tuple(f"I{number}" for number in range(1, 14))
CATEGORIES = tuple(f"C{number}" for number in range(1, len(VOCABULARIES) + 1))
# Of the logarithm of each count: mean and deviation; then the share of rows that lack it.
COUNTS = ((0.8, 1.2, 0.45), (2.5, 1.9, 0.0), (1.9, 1.4, 0.2), (1.7, 1.0, 0.2), (7.0, 2.6, 0.02), (3.4, 1.6, 0.2))
MORE_COUNTS = ((1.7, 1.4, 0.04), (2.1, 1.2, 0.0), (4.0, 1.3, 0.04), (0.4, 0.5, 0.45), (1.0, 0.9, 0.04))
RARE_COUNTS = ((0.2, 0.7, 0.76), (1.9, 1.2, 0.2))
# What the label depends on: columns with their weight, and pairs whose values count together only.
FROM_COUNTS = {"I1": 0.5, "I6": -0.25, "I7": 0.3, "I11": 0.35}
FROM_CATEGORIES = {"C2": 0.4, "C6": 0.4, "C9": 0.4, "C14": 0.6, "C17": 0.6, "C7": 0.3}
FROM_PAIRS = {("C17", "C23"): 0.8, ("C6", "C20"): 0.8}
MISSING_CATEGORIES = {"C3": 0.03, "C4": 0.03, "C19": 0.44, "C20": 0.44, "C25": 0.44, "C22": 0.76}
BIAS = -2.2


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make a table in the shape of Criteo's click logs, as Parquet.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows to make (default: %(default)s)")
    parser.add_argument("--path", default="data/criteo", help="folder to write to (default: %(default)s)")
    parser.add_argument("--cores", default="*", help="cores of the embedded Spark (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all values (default: %(default)s)")
    return parser.parse_args()


def click_table(spark: SparkSession, rows: int, seed: int = 0, *, chance: bool = False) -> DataFrame:
    """The table as a plan: nothing is computed before somebody reads it.

    Args:
        spark: a session.
        rows: rows to make.
        seed: another seed gives other rows, of the same rule.
        chance: whether to add a column `chance`, by which the label was drawn: no model can do better.
    """
    from pyspark.sql import functions as F

    counts = dict(zip(NUMBERS, [*COUNTS, *MORE_COUNTS, *RARE_COUNTS], strict=True))
    values = {
        name: F.floor(F.exp(mean + deviation * _normal(name, seed))).cast("int")
        for name, (mean, deviation, _) in counts.items()
    }
    for name, size in zip(CATEGORIES, VOCABULARIES, strict=True):
        # The rank of a value is log-uniform, so its frequency falls as one over the rank.
        values[name] = _value(name, F.floor(F.exp(math.log(size + 1) * _uniform(name, seed))))
    table = spark.range(rows).withColumns(values).withColumn("chance", 1 / (1 + F.exp(-_logit())))
    table = table.withColumn("label", (_uniform("label", seed) < F.col("chance")).cast("int"))
    # The holes come last: a click depends on what a row would have there.
    absent = {name: share for name, (_, _, share) in counts.items()} | MISSING_CATEGORIES
    holes = {
        name: F.when(_uniform(f"{name} is there", seed) >= share, F.col(name))
        for name, share in absent.items()
        if share
    }
    return table.withColumns(holes).select("label", *NUMBERS, *CATEGORIES, *(["chance"] if chance else []))


def _logit() -> Column:
    """Of the chance of a click: a sum over the columns that matter."""
    from pyspark.sql import functions as F

    total = F.lit(BIAS)
    for name, weight in FROM_COUNTS.items():
        total = total + weight * F.log1p(name)
    for name, weight in FROM_CATEGORIES.items():
        total = total + weight * _effect(name)
    for (first, second), weight in FROM_PAIRS.items():
        total = total + weight * _effect(first, second)
    return total


def _uniform(what: str, seed: int) -> Column:
    """A number from 0 to 1 for each row: a hash of the row's number, so that it does not depend on partitions."""
    from pyspark.sql import functions as F

    return _share(F.xxhash64(F.lit(f"{seed} {what}"), F.col("id")))


def _normal(what: str, seed: int) -> Column:
    """A normal number for each row, by Box and Muller."""
    from pyspark.sql import functions as F

    radius = F.sqrt(-2 * F.log(1 - _uniform(f"{what} radius", seed)))
    return radius * F.cos(2 * math.pi * _uniform(f"{what} angle", seed))


def _value(name: str, rank: Column) -> Column:
    """Eight hexadecimal digits for a rank, as the original has them."""
    from pyspark.sql import functions as F

    return F.lower(F.hex(F.xxhash64(F.lit(name), rank))).substr(1, 8)


def _effect(*names: str) -> Column:
    """What values (together) do to the logit: from -2 to 2, always the same for the same values."""
    from pyspark.sql import functions as F

    return 4 * _share(F.xxhash64(F.lit("effect"), *names)) - 2


def _share(number: Column) -> Column:
    """A 64-bit hash as a number of at least 0 and less than 1."""
    from pyspark.sql import functions as F

    return F.pmod(number, F.lit(2**52)) / float(2**52)


def main() -> int:
    arguments = parse_arguments()
    started = time.monotonic()
    cores = arguments.cores if arguments.cores == "*" else int(arguments.cores)
    spark = local_spark_session(cores)
    click_table(spark, arguments.rows, arguments.seed).write.mode("overwrite").parquet(arguments.path)
    from pyspark.sql import functions as F

    table = spark.read.parquet(arguments.path)
    rare = table.agg(F.avg("label"), *[F.approx_count_distinct(name) for name in ("C3", "C10", "C17")]).first()
    spark.stop()
    if rare is not None:
        print(f"{arguments.rows} rows in {arguments.path}, {rare[0]:.1%} clicks.")
        print(f"Different values, about: {rare[1]} in C3, {rare[2]} in C10, {rare[3]} in C17.")
    print(f"Took {time.monotonic() - started:.0f} s in all.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
