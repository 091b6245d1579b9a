"""Where the rows of a data set come from: what preparation asks of a Spark DataFrame, or of a table in memory."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cerebro_nas.data._deal import Deal
    from cerebro_nas.data._stage import StagedPart
    from cerebro_nas.data._stage import StagePlan
    from cerebro_nas.data._write import WritePlan
    from cerebro_nas.storage import Store

KINDS = ("number", "boolean", "string", "vector", "array", "binary", "image", "date", "other")
"""What a column can hold: numbers, texts, Spark ML vectors, (nested) arrays of numbers, bytes, Spark's image struct."""


class Rows(ABC):
    """Rows with named columns, from which a data set is made.

    Attributes:
        origin: what the user gave, for messages; `numbering` says how its rows are counted.
        date_tools: what turns its dates into numbers.
    """

    origin = "a DataFrame"
    numbering = "row numbers count in the order of the DataFrame's partitions"
    date_tools = "Spark's `unix_timestamp`, `year`, `dayofweek`"

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """Names of the columns."""

    @abstractmethod
    def kind(self, name: str) -> str:
        """What a column holds, one of `KINDS`."""

    @abstractmethod
    def type_name(self, name: str) -> str:
        """The type of a column as its source calls it."""

    @abstractmethod
    def stage(self, plan: StagePlan) -> tuple[list[StagedPart], str]:
        """Write the rows as they come; return what was found out about each part, and a digest of them all."""

    @abstractmethod
    def digest(self, columns: Sequence[str], validation: str | None) -> str:
        """The digest that `stage` gives, without writing anything."""

    @abstractmethod
    def write(
        self, store: Store, plan: WritePlan, parts: list[StagedPart], deal: Deal, *, staged_bytes: int, seed: int
    ) -> list[str]:
        """Write the shards from staged rows of `staged_bytes` each; return a JSON text for each."""

    def schema_of(self, names: Sequence[str]) -> list[str]:
        """Names and types of the columns that a data set is made of."""
        return [f"{name}: {self.type_name(name)}" for name in names]
