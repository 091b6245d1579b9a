"""The data of a search: prepared for a new one, recognised for one that is gone on with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import StoreError
from cerebro_nas.search._identity import began_with
from cerebro_nas.search._identity import check_data
from cerebro_nas.search._signals import JobsInterrupt

if TYPE_CHECKING:
    from cerebro_nas.data import PreparedData
    from cerebro_nas.data import Shapes
    from cerebro_nas.search._settings import Resources
    from cerebro_nas.search_space import Layout

_LOGGER = logging.getLogger(__name__)


def prepare(
    data: Any,
    resources: Resources,
    layout: Layout,
    *,
    name: str,
    input_shape: Shapes,
    seed: int,
    session: Mapping[str, Any] | None,
) -> PreparedData:
    """Prepare the data of a search, or find what was prepared for it.

    Args:
        data: a DataFrame, or rows.
        resources: store and number of shards.
        layout: which columns are what.
        name: name of the data set.
        input_shape: shape of a row of the single feature column.
        seed: seed of the shuffle.
        session: what the first driver of the search said of it, None for a new search.

    Raises:
        ResumeMismatchError: the rows or columns are not those that the search began with.
        DataError: the data cannot be used.
        KeyboardInterrupt: the user interrupted it.
    """
    from cerebro_nas.data import load_prepared
    from cerebro_nas.data import plain_shapes
    from cerebro_nas.data import prepare_data
    from cerebro_nas.data import source_digest

    columns: dict[str, Any] = {
        "feature_columns": layout.feature_columns,
        "label_columns": layout.labels,
        "validation": resources.validation,
        "weight_column": resources.weight_column,
    }
    made: dict[str, Any] = {"input_shape": input_shape, "uses": dict(layout.uses)}
    asked = {**columns, "uses": made["uses"], "input_shape": plain_shapes(input_shape)}
    num_shards = resources.num_shards
    with JobsInterrupt(_cancel_jobs_of(data)):
        if session is not None:
            began = began_with(session)
            check_data(began, {**asked, "source": source_digest(data, **columns)})
            try:
                found = load_prepared(resources.store, name)
            except StoreError as error:
                _LOGGER.warning("The data is prepared again: %s", error)
            else:
                if found.fingerprint == began["data"].get("fingerprint"):
                    return found
                _LOGGER.warning("The data is prepared again: what is in %s was made in another way since.", found.url)
            # However many workers there are now, the shards are those that candidates have been visiting.
            num_shards = began["data"]["num_shards"]
        made["number_labels"] = layout.number_labels
        if resources.arrays:
            made["arrays"] = layout.features
        return prepare_data(data, store=resources.store, name=name, num_shards=num_shards, seed=seed, **columns, **made)


def num_train_shards(prepared: PreparedData | None, resources: Resources) -> int:
    """Training shards that there are, whatever number is asked for now; that number before the data is prepared."""
    if prepared is None:
        return resources.num_shards
    return sum(shard.split == "train" for shard in prepared.shards)


def _cancel_jobs_of(data: Any) -> Callable[[], object]:
    session: Any = getattr(data, "sparkSession", None)
    if session is None:
        return bool
    # A session of Spark Connect has no context, and cancels its jobs itself.
    cancel: Callable[[], object] = (
        session.sparkContext.cancelAllJobs if hasattr(session, "_jsparkSession") else session.interruptAll
    )
    return cancel
