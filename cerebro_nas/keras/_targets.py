"""How labels become the targets that a loss takes, and what the outputs say of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import ConfigError

if TYPE_CHECKING:
    from cerebro_nas.data import ColumnStatistics
    from cerebro_nas.keras._parts import Family
    from cerebro_nas.worker import ColumnSpec

_SHOWN = 10


@dataclass(frozen=True)
class Output:
    """One output of a model.

    Attributes:
        name: its name.
        width: numbers in a row.
        family: what its loss takes.
    """

    name: str
    width: int
    family: Family

    @property
    def classifies(self) -> bool:
        """Whether the largest of its numbers says which class a row is of."""
        return self.family == "categorical"

    def target(self, column: ColumnSpec, statistics: ColumnStatistics) -> dict[str, Any]:
        """How a worker makes targets of the labels (`SearchSpec.targets`).

        Raises:
            ConfigError: labels, loss and output do not fit together.
        """
        if column.shape:
            if tuple(column.shape) != (self.width,):
                raise self._misfit(column, f"vectors of shape {tuple(column.shape)}")
            return {"kind": "values"}
        classes = list(statistics.classes)
        if self.family == "categorical" or (self.family == "binary" and self.width > 1):
            if len(classes) != self.width:
                raise self._misfit(column, f"{len(classes) or 'too many'} classes: {classes[:_SHOWN]}")
            return {"kind": "classes", "classes": classes, "as": "onehot"}
        if self.width != 1:
            # Keras would compare each of the output's numbers with the one of the label, and say nothing.
            raise self._misfit(column, "one number a row")
        if self.family == "binary" and len(classes) == 2:
            return {"kind": "classes", "classes": classes, "as": "binary"}
        if statistics.minimum is None or statistics.maximum is None:
            raise self._misfit(column, f"{len(classes) or 'too many'} strings: {classes[:_SHOWN]}")
        if self.family != "values" and not 0 <= statistics.minimum <= statistics.maximum <= 1:
            raise self._misfit(column, f"numbers from {statistics.minimum:g} to {statistics.maximum:g}")
        return {"kind": "values"}

    def _misfit(self, column: ColumnSpec, found: str) -> ConfigError:
        expected = {
            "categorical": f"a column of {self.width} classes, or of one-hot vectors of {self.width}",
            "binary": f"a column of {max(2, self.width)} classes"
            + (f", or of vectors of {self.width} numbers" if self.width > 1 else ", or of numbers from 0 to 1"),
            "logits": "a column of numbers from 0 to 1" if self.width == 1 else f"vectors of {self.width} numbers",
            "values": "a column of numbers" if self.width == 1 else f"a column of vectors of {self.width} numbers",
        }[self.family]
        return ConfigError(
            f"`label_columns` must name {expected} for the output {self.name!r}, which has {self.width} number(s) a "
            f"row, and its loss. Received: column {column.name!r} with {found}. Change the column, the last layer or "
            "the loss."
        )
