"""Classes that no candidate could learn, because the rows that have them are all validation rows."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from cerebro_nas.data._types import ColumnStatistics

_LOGGER = logging.getLogger(__name__)
_SHOWN = 10


def warn_of_unseen(
    labels: Iterable[str], statistics: Mapping[str, ColumnStatistics], written: Iterable[dict[str, Any]]
) -> None:
    """Warn of classes that occur in validation rows only.

    Args:
        labels: the label columns.
        statistics: of all rows, by column.
        written: what was written, by shard: its `split`, and `classes` by label column.
    """
    shards = list(written)
    for name in labels:
        known = statistics[name]
        trained = {value for shard in shards if shard["split"] == "train" for value in shard["classes"].get(name, ())}
        counted = zip(known.classes, known.class_counts, strict=True)
        unseen = [(value, count) for value, count in counted if count and value not in trained]
        if unseen:
            shown = ", ".join(f"{value!r} ({count} row{'s' if count > 1 else ''})" for value, count in unseen[:_SHOWN])
            more = f" and {len(unseen) - _SHOWN} more" if len(unseen) > _SHOWN else ""
            _LOGGER.warning(
                "Label column %r: %s occur%s in validation rows only, so no candidate can learn them. "
                "Add rows of these classes, choose other validation rows, or drop them.",
                *(name, shown + more, "s" if len(unseen) == 1 else ""),
            )
