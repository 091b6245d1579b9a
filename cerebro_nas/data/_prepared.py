"""The description of a prepared data set: `statistics.json`, written last, so that its presence means complete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.data._description import from_plain
from cerebro_nas.data._sources import rows_of
from cerebro_nas.data._types import PreparedData
from cerebro_nas.data._types import Shapes
from cerebro_nas.data._types import plain_shapes
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import DataError
from cerebro_nas.errors import StoreError
from cerebro_nas.worker import parse_json

if TYPE_CHECKING:
    from cerebro_nas.storage import Store

FILE = "statistics.json"
_VERSION = 1
# What data sets that were made before there were such settings have of them.
_BEFORE: dict[str, Any] = {"uses": {}}


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
        raise StoreError(
            f"There is no prepared data set in {url}. Call `fit`, or `sys_setup` (`prepare_data` of Cerebro's "
            "searches), with a DataFrame first."
        )
    try:
        return from_plain(parse_json(store.read_bytes(f"{url}/{FILE}")), url, _VERSION)
    except ValueError as error:
        raise CorruptStateError(f"{url}/{FILE} is damaged ({error}). Prepare the data anew.") from error


def fingerprint(schema: Sequence[str], settings: dict[str, Any], digests: Sequence[str]) -> str:
    """Hash of schema, settings and the contents of the shards."""
    text = json.dumps([list(schema), settings, list(digests)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def check_fingerprint(
    prepared: PreparedData,
    data: Any,
    *,
    feature_columns: Sequence[str],
    label_columns: Sequence[str],
    input_shape: Shapes = None,
    uses: Mapping[str, str] | None = None,
    weight_column: str | None = None,
) -> None:
    """Refuse to use a prepared data set for something else.

    Args:
        prepared: what is in the store.
        data: a DataFrame (or rows) whose columns must have the types that the data was made from; None skips that.
        feature_columns: feature columns that the search asks for.
        label_columns: label columns that it asks for.
        input_shape: shape that the search asks for, None for any.
        uses: what the search takes feature columns for, None for anything.
        weight_column: column of sample weights that it asks for.

    Raises:
        DataError: the message says what differs.
    """
    settings = prepared.settings
    wanted: dict[str, Any] = {"feature_columns": list(feature_columns), "label_columns": list(label_columns)}
    wanted["weight_column"] = weight_column
    if input_shape is not None:
        wanted["input_shape"] = plain_shapes(input_shape)
    if uses is not None:
        wanted["uses"] = dict(uses)
    if data is not None:
        rows = rows_of(data)
        names = [*feature_columns, *label_columns, *([] if weight_column is None else [weight_column])]
        missing = [name for name in names if name not in rows.columns]
        if missing:
            raise DataError(f"The DataFrame lacks the columns {missing}. Received: columns={rows.columns}. Add them.")
        wanted["schema"] = rows.schema_of(names)
    differing = [
        f"- {name}: prepared with {settings.get(name)!r}, asked for {value!r}"
        for name, value in wanted.items()
        if settings.get(name, _BEFORE.get(name)) != value
    ]
    if differing:
        raise DataError(
            f"The data set in {prepared.url} was prepared from something else:\n" + "\n".join(differing) + "\n"
            "Call `fit` to prepare it anew, or ask for the same."
        )
