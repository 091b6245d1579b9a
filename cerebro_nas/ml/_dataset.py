"""What Spark ML hands on without a look: the rows of `fit` and `transform`."""

from __future__ import annotations

from typing import Any

from cerebro_nas.errors import ConfigError


def check_dataset(dataset: Any) -> None:
    """Refuse anything but a DataFrame of Spark.

    Raises:
        ConfigError: it is something else, a pandas frame say.
    """
    # By what it offers, not by class: Spark Connect has a DataFrame of its own.
    if hasattr(dataset, "sparkSession"):
        return
    kind = type(dataset)
    raise ConfigError(
        "`dataset` must be a Spark DataFrame. "
        f"Received: an object of type {kind.__module__.partition('.')[0]}.{kind.__qualname__}. "
        "Make one of it with `spark.createDataFrame`; `HyperHyperModel.fit(x=..., y=...)` takes arrays as they are."
    )
