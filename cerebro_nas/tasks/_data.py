"""Arrays and frames that `AutoModel` was given: checked, and split as AutoKeras splits them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from cerebro_nas.errors import ConfigError

# Of inputs and heads that the user has given no name, "image_input_1" say.
_AUTOMATIC_NAME = re.compile(r"([a-z0-9_]+_)?(input|head)_\d+")


def is_spark(x: Any) -> bool:
    """Whether it is a DataFrame of Spark."""
    # By method, not by class: Spark Connect has a DataFrame of its own.
    return hasattr(x, "mapInArrow")


def parts(data: Any, names: Sequence[str], argument: str, where: str = "") -> list[Any]:
    """The arrays and frames in a structure of them, in the order of the nodes; the arguments are those of `checked`.

    Raises:
        ConfigError: it is a dict by name, with other keys.
    """
    if not isinstance(data, dict) or not _is_by_name(data, names):
        return list(keras.tree.flatten(data))
    if set(data) != set(names):
        raise ConfigError(
            f"Argument `{argument}`{where} should be a dict with the keys {_quoted(names)}. "
            f"Received: {_quoted(data) or 'no keys'}. {_meant(data, names)}"
        )
    return [data[name] for name in names]


def _is_by_name(data: dict[Any, Any], names: Sequence[str]) -> bool:
    """Whether a dict is meant by name: AutoKeras goes by the order of the keys, which swaps what is misspelt."""
    return any(key in names for key in data) or not all(_AUTOMATIC_NAME.fullmatch(name) for name in names)


def _meant(data: dict[Any, Any], names: Sequence[str]) -> str:
    missing = [name for name in names if name not in data]
    pairs = ((key, difflib.get_close_matches(str(key), missing, n=1)) for key in data if key not in names)
    near = [f"{close[0]!r} for {key!r}" for key, close in pairs if close]
    return f"Did you mean {', '.join(near)}?" if near else "Use these names, or pass a list in this order."


def _quoted(names: Iterable[Any]) -> str:
    return ", ".join(map(repr, names))


def checked(data: Any, names: Sequence[str], argument: str, where: str = "") -> list[Any]:
    """Give one array or frame for each node.

    Args:
        data: an array, a pandas frame or series, or a structure of them.
        names: names of the nodes.
        argument: `"x"` or `"y"`, for messages.
        where: comes behind it there.

    Raises:
        ConfigError: there are more or fewer, or of other names, or one is something else.
    """
    found = parts(data, names, argument, where)
    if not all(_is_table(part) for part in found):
        kinds = ", ".join(dict.fromkeys(type(part).__name__ for part in found))
        raise ConfigError(
            f"Expected {argument}{where} to be a numpy array, a pandas frame or series, or a list of them. Received: "
            f"{argument} of {kinds}. Convert it, with `numpy.asarray` say; rows of a file can be read with "
            "`pandas.read_csv` or `spark.read.csv`."
        )
    if len(found) != len(names):
        raise ConfigError(
            f"Expected {argument}{where} to have {len(names)} arrays, but got {len(found)}. Received: arrays of shape "
            f"{', '.join(str(part.shape) for part in found)}. Pass one for each of {', '.join(names)}."
        )
    lengths = {len(part) for part in found}
    if len(lengths) > 1:
        raise ConfigError(
            f"Expected {argument}{where} to have arrays with equally many rows. "
            f"Received: {', '.join(str(len(part)) for part in found)} rows. Pass as many of each."
        )
    return found


def check_lengths(inputs: Sequence[Any], labels: Sequence[Any], where: str = "") -> None:
    """Refuse inputs and labels of different lengths.

    Args:
        inputs: what `checked` gave for x, of equally many rows.
        labels: likewise, for y.
        where: comes behind their names in the message.

    Raises:
        ConfigError: so they are.
    """
    rows, labelled = len(inputs[0]), len(labels[0])
    if rows != labelled:
        raise ConfigError(
            f"Expected x and y{where} to have equally many rows. "
            f"Received: {rows} rows of x and {labelled} of y. Pass one label for each row."
        )


def split(tables: Sequence[Any], fraction: float) -> tuple[list[Any], list[Any]]:
    """Cut the last rows off each table, for validation: as many as AutoKeras takes, one at least.

    Raises:
        ConfigError: there are fewer than two rows.
    """
    rows = len(tables[0])
    if rows < 2:
        raise ConfigError(f"`x` must have at least 2 rows to be split. Received: {rows} rows. Pass more of them.")
    first = rows - min(max(int(rows * fraction), 1), rows - 1)
    return [_rows(table, slice(first)) for table in tables], [_rows(table, slice(first, None)) for table in tables]


def as_numbers(node: Any, table: Any) -> Any:
    """A table of numbers that are written as text or are objects, as numbers; any other as it is.

    Args:
        node: the input that it is for.
        table: rows.
    """
    kinds = set((getattr(node, "column_types", None) or {}).values())
    if kinds == {"numerical"} and isinstance(table, np.ndarray) and table.dtype.kind in "OUS":
        return table.astype(np.float32)
    return table


def single(tables: Sequence[Any]) -> Any:
    """The only one of them, or all."""
    return tables[0] if len(tables) == 1 else list(tables)


def _rows(table: Any, rows: slice) -> Any:
    return table.iloc[rows] if hasattr(table, "iloc") else table[rows]


def _is_table(part: Any) -> bool:
    return (isinstance(part, np.ndarray) and part.ndim > 0) or (hasattr(part, "iloc") and hasattr(part, "to_numpy"))
