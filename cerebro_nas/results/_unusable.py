"""Rows that a model cannot be asked about: counted over all columns, and refused in the words of `fit`."""

from __future__ import annotations

import json
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field

from cerebro_nas.data import Faults
from cerebro_nas.errors import DataError

IN_ARRAYS = "row numbers count from 0"
IN_BATCH = "row numbers count from the first of the batch"
IN_FRAME = "row numbers count in the order of the DataFrame's partitions"


@dataclass
class Unusable:
    """Faults of columns, by name, in `rows` rows."""

    rows: int = 0
    columns: dict[str, Faults] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(faults.counts for faults in self.columns.values())

    def of(self, column: str) -> Faults:
        """The faults of a column, to add to."""
        return self.columns.setdefault(column, Faults())

    def merge(self, other: Unusable) -> None:
        """Take in another part, whose rows come after these."""
        for column, faults in other.columns.items():
            self.of(column).merge(faults, self.rows)
        self.rows += other.rows

    def refuse(self, origin: str, numbering: str) -> None:
        """Raise what there is.

        Args:
            origin: what the rows are, for the message.
            numbering: how they are counted there.

        Raises:
            DataError: rows cannot be used; all columns are named.
        """
        problems = [
            faults.told(column, kind, self.rows) for column, faults in self.columns.items() for kind in faults.counts
        ]
        if problems:
            listed = "\n".join(f"- {problem}" for problem in problems)
            raise DataError(
                f"The data cannot be used:\n{listed}\nReceived: {origin} of {self.rows} rows. Clean or drop those rows "
                f"({numbering})."
            )

    def to_json(self) -> str:
        """As text, for the way home from an executor."""
        return json.dumps({column: asdict(faults) for column, faults in self.columns.items()})

    @classmethod
    def from_json(cls, text: str, rows: int) -> Unusable:
        """What `to_json` made of `rows` rows."""
        return cls(rows, {column: Faults(**faults) for column, faults in json.loads(text).items()})


def no_rows(origin: str) -> DataError:
    """The error for an evaluation on nothing."""
    return DataError(f"`evaluate` needs at least one row. Received: {origin} of 0 rows. Pass the rows to evaluate on.")
