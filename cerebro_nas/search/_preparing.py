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
    from pyspark.sql import DataFrame

    from cerebro_nas.data import PreparedData
    from cerebro_nas.search._settings import Resources

_LOGGER = logging.getLogger(__name__)


def prepare(
    df: DataFrame,
    resources: Resources,
    *,
    name: str,
    input_shape: tuple[int, ...] | None,
    seed: int,
    session: Mapping[str, Any] | None,
) -> PreparedData:
    """Prepare the data of a search, or find what was prepared for it.

    Args:
        df: the rows.
        resources: columns, store and number of shards.
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
    from cerebro_nas.data import prepare_data
    from cerebro_nas.data import source_digest

    columns: dict[str, Any] = {
        "feature_columns": resources.feature_columns,
        "label_columns": resources.label_columns,
        "validation": resources.validation,
    }
    num_shards = resources.num_shards
    with JobsInterrupt(_cancel_jobs_of(df)):
        if session is not None:
            began = began_with(session)
            check_data(began, {**columns, "input_shape": input_shape, "source": source_digest(df, **columns)})
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
        return prepare_data(
            df, store=resources.store, name=name, num_shards=num_shards, input_shape=input_shape, seed=seed, **columns
        )


def num_train_shards(prepared: PreparedData | None, resources: Resources) -> int:
    """Training shards that there are, whatever number is asked for now; that number before the data is prepared."""
    if prepared is None:
        return resources.num_shards
    return sum(shard.split == "train" for shard in prepared.shards)


def _cancel_jobs_of(df: DataFrame) -> Callable[[], object]:
    session: Any = df.sparkSession
    # A session of Spark Connect has no context, and cancels its jobs itself.
    cancel: Callable[[], object] = (
        session.sparkContext.cancelAllJobs if hasattr(session, "_jsparkSession") else session.interruptAll
    )
    return cancel
