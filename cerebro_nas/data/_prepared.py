"""The description of a prepared data set: `statistics.json`, written last, so that its presence means complete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.data._description import from_plain
from cerebro_nas.data._types import PreparedData
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import DataError
from cerebro_nas.errors import StoreError
from cerebro_nas.worker import parse_json

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from cerebro_nas.storage import Store

FILE = "statistics.json"
_VERSION = 1


def save_prepared(store: Store, prepared: PreparedData) -> None:
    """Write the description."""
    plain = {"version": _VERSION, **asdict(prepared)}
    store.write_bytes(f"{prepared.url}/{FILE}", json.dumps(plain, indent=1).encode())


def load_prepared(store: Store, name: str) -> PreparedData:
    """Read the description of the data set `name`.

    Raises:
        StoreError: there is none.
        CorruptStateError: it is damaged.
    """
    url = store.data_url(name)
    if not store.exists(f"{url}/{FILE}"):
        raise StoreError(f"There is no prepared data set in {url}. Call `fit` or `sys_setup` with a DataFrame first.")
    try:
        return from_plain(parse_json(store.read_bytes(f"{url}/{FILE}")), url, _VERSION)
    except ValueError as error:
        raise CorruptStateError(f"{url}/{FILE} is damaged ({error}). Prepare the data anew.") from error


def fingerprint(schema: Sequence[str], settings: dict[str, Any], digests: Sequence[str]) -> str:
    """Hash of schema, settings and the contents of the shards."""
    text = json.dumps([list(schema), settings, list(digests)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def schema_of(df: DataFrame, names: Sequence[str]) -> list[str]:
    """Names and types of the columns that a data set is made of."""
    return [f"{name}: {df.schema[name].dataType.simpleString()}" for name in names]


def check_fingerprint(
    prepared: PreparedData,
    df: DataFrame | None,
    *,
    feature_columns: Sequence[str],
    label_columns: Sequence[str],
    input_shape: Sequence[int] | None = None,
) -> None:
    """Refuse to use a prepared data set for something else.

    Args:
        prepared: what is in the store.
        df: a DataFrame whose columns must have the types that the data was made from; None skips that.
        feature_columns: feature columns that the search asks for.
        label_columns: label columns that it asks for.
        input_shape: shape that the search asks for, None for any.

    Raises:
        DataError: the message says what differs.
    """
    settings = prepared.settings
    wanted: dict[str, Any] = {"feature_columns": list(feature_columns), "label_columns": list(label_columns)}
    if input_shape is not None:
        wanted["input_shape"] = list(input_shape)
    if df is not None:
        missing = [name for name in [*feature_columns, *label_columns] if name not in df.columns]
        if missing:
            raise DataError(f"The DataFrame lacks the columns {missing}. Received: columns={df.columns}. Add them.")
        wanted["schema"] = schema_of(df, [*feature_columns, *label_columns])
    differing = [
        f"- {name}: prepared with {settings.get(name)!r}, asked for {value!r}"
        for name, value in wanted.items()
        if settings.get(name) != value
    ]
    if differing:
        raise DataError(
            f"The data set in {prepared.url} was prepared from something else:\n" + "\n".join(differing) + "\n"
            "Call `fit` to prepare it anew, or ask for the same."
        )
