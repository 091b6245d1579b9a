"""Arrays and pandas frames as the rows of a search, so that code for AutoKeras needs no Spark."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from cerebro_nas.errors import DataError
from cerebro_nas.search_space import NamedColumns
from cerebro_nas.worker import category_text

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from cerebro_nas.data import PreparedData
    from cerebro_nas.data import Rows
    from cerebro_nas.search import Resources
    from cerebro_nas.search_space import InputInfo

_IS_VALID = "__is_validation"
_WEIGHT = "__sample_weight"


@dataclass(frozen=True)
class ArrayData:
    """Rows made of arrays, and what their columns are.

    Attributes:
        rows: for `prepare_data`.
        features: columns of each input; `labels` the column of each head.
        shapes: shape of a row, by column of tensors.
        validation: boolean column that marks validation rows, None where they are to be drawn.
        weight: column of sample weights, or None.
    """

    rows: Rows
    features: tuple[tuple[str, ...], ...]
    labels: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    validation: str | None
    weight: str | None

    def resources(self, bound: Resources) -> Resources:
        """What the user bound, with the columns of these rows."""
        return replace(
            bound,
            features=NamedColumns(tuple(dict.fromkeys(sum(self.features, ()))), self.features),
            labels=NamedColumns(self.labels),
            validation=self.validation or bound.validation,
            weight_column=self.weight,
            arrays=True,
        )


def resources_of_arrays(prepared: PreparedData, bound: Resources) -> Resources:
    """What the user bound, with the columns of a data set that was made of arrays; as it is for any other.

    Args:
        prepared: what an earlier `fit(x=, y=)` has prepared, in another process perhaps.
        bound: what the user bound.
    """
    groups: Any = prepared.settings.get("arrays")
    if groups is None:
        return bound
    return replace(
        bound,
        features=NamedColumns(tuple(column.name for column in prepared.features), tuple(map(tuple, groups))),
        labels=NamedColumns(tuple(column.name for column in prepared.labels)),
        weight_column=None if prepared.weights is None else prepared.weights.name,
        arrays=True,
    )


def rows_of_arrays(
    x: Any,
    y: Any,
    inputs: Sequence[InputInfo],
    heads: Sequence[str],
    validation_data: Any = None,
    sample_weight: Any = None,
) -> ArrayData:
    """Make rows of arrays.

    Args:
        x: per input an array of n rows (a list or a dict by input's name where there are several): numbers (n, ...),
            strings (n,) or (n, 1) for texts, a table (n, k) or a pandas frame for structured data.
        y: per head an array of n labels, (n,), (n, 1) or (n, k).
        inputs: what the graph's inputs are.
        heads: names of its heads.
        validation_data: (x, y) of further rows, to validate on; None: validation rows are drawn.
        sample_weight: a weight of 0 or more for each row of `x`, or None. Rows of `validation_data` weigh 1.

    Raises:
        DataError: they cannot be rows of one table; the message lists everything that is wrong.
    """
    from cerebro_nas.data import LocalRows

    x, y, flags = _with_validation(x, y, inputs, heads, validation_data)
    made = _Table()
    rows = len(x[0])
    features = tuple(made.add_input(info, part) for info, part in zip(inputs, x, strict=True))
    labels = tuple(made.add_label(name, part) for name, part in zip(heads, y, strict=True))
    validation = None if flags is None else made.add(_IS_VALID, flags)
    weights = None if sample_weight is None else _weights(sample_weight, rows, flags)
    weight = None if weights is None else made.add(_WEIGHT, weights)
    return ArrayData(LocalRows(made.table()), features, labels, made.shapes, validation, weight)


def _weights(given: Any, rows: int, flags: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    trained = rows if flags is None else int((~flags).sum())
    try:
        weights, received = np.asarray(given, dtype=np.float64), ""
    except (TypeError, ValueError) as error:
        weights, received = np.empty(0), str(error)
    if received or weights.shape != (trained,):
        raise DataError(
            f"`sample_weight` must have one number for each of the {trained} rows of `x`. "
            f"Received: {received or f'shape {weights.shape}'}. Pass an array of that length."
        )
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong) or not weights.any():
        first = f"the first in row {wrong[0]}: {weights[wrong[0]]}" if len(wrong) else ""
        received = f"{len(wrong)} others, {first}" if first else "only zeros"
        raise DataError(
            f"`sample_weight` must have numbers of 0 or more, and one above 0. Received: {received}. Correct them."
        )
    return np.concatenate([weights, np.ones(rows - trained)])


def in_order(values: Any, names: Sequence[str], what: str) -> list[Any]:
    """One entry for each of the inputs (or heads) `names`.

    Raises:
        DataError: there are more or fewer.
    """
    if isinstance(values, Mapping) and not hasattr(values, "iloc"):
        if set(values) != set(names):
            raise DataError(
                f"`{what}` must have the keys {', '.join(map(repr, names))}. "
                f"Received: {', '.join(map(repr, values))}. Name inputs and heads with their argument `name`."
            )
        return [values[name] for name in names]
    if len(names) == 1:
        single = isinstance(values, (list, tuple)) and len(values) == 1 and np.ndim(values[0]) > 0
        return [values[0] if single else values]
    if not isinstance(values, (list, tuple)) or len(values) != len(names):
        received = len(values) if isinstance(values, (list, tuple)) else f"a {type(values).__name__}"
        raise DataError(
            f"`{what}` must be a list of {len(names)} arrays, for {', '.join(map(repr, names))}. "
            f"Received: {what} of length {received}. Pass one array for each."
        )
    return list(values)


def _with_validation(
    x: Any, y: Any, inputs: Sequence[InputInfo], heads: Sequence[str], validation_data: Any
) -> tuple[list[Any], list[Any], NDArray[np.bool_] | None]:
    names = [info.name for info in inputs]
    x, y = in_order(x, names, "x"), in_order(y, heads, "y")
    _check_lengths([*x, *y], [*names, *heads])
    x, y = _one_form(x, y, inputs)
    if validation_data is None:
        return x, y, None
    if not isinstance(validation_data, (list, tuple)) or len(validation_data) != 2:
        size = f" of {len(validation_data)}" if isinstance(validation_data, (list, tuple)) else ""
        raise DataError(
            "`validation_data` must be a tuple (x_val, y_val). "
            f"Received: validation_data, a {type(validation_data).__name__}{size}. Pass arrays as for `x` and `y`."
        )
    x_val, y_val = in_order(validation_data[0], names, "x_val"), in_order(validation_data[1], heads, "y_val")
    _check_lengths([*x_val, *y_val], [*names, *heads])
    x_val, y_val = _one_form(x_val, y_val, inputs)
    flags = np.repeat([False, True], [len(x[0]), len(x_val[0])])
    return (
        [_joined(*pair) for pair in zip(x, x_val, strict=True)],
        [_joined(*pair) for pair in zip(y, y_val, strict=True)],
        flags,
    )


def _one_form(x: Sequence[Any], y: Sequence[Any], inputs: Sequence[InputInfo]) -> tuple[list[Any], list[Any]]:
    """Arrays that say the same in the same form, so that they can be joined: (n,) for (n, 1), frames by name."""
    tables = [
        named_frame(info, part) if _is_frame(part) else _flat(part) if info.kind in ("text", "structured") else part
        for info, part in zip(inputs, x, strict=True)
    ]
    return tables, [_flat(part) for part in y]


def _flat(values: Any) -> Any:
    if _is_frame(values):
        return values.iloc[:, 0] if values.shape[1] == 1 else values
    array = _array(values)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def named_frame(info: InputInfo, frame: Any) -> Any:
    """A pandas frame with the names that the user gave to the columns of an input.

    Args:
        info: the input.
        frame: of these columns in any order, or of as many others in theirs.

    Raises:
        DataError: there are more or fewer.
    """
    names = info.column_names
    if not names or set(names) <= set(map(str, frame.columns)):
        return frame
    _check_names(info, frame.shape[1])
    return frame.set_axis(list(names), axis=1)


def _check_names(info: InputInfo, count: int) -> None:
    if info.column_names and len(info.column_names) != count:
        raise DataError(
            f"`column_names` must name each of the {count} columns of {info.name!r}. "
            f"Received: column_names={list(info.column_names)}. Name them all."
        )


def _is_frame(values: Any) -> bool:
    return hasattr(values, "columns") and hasattr(values, "iloc")


def _check_lengths(arrays: Sequence[Any], names: Sequence[str]) -> None:
    for array, name in zip(arrays, names, strict=True):
        if not hasattr(array, "__len__"):
            raise DataError(
                f"`x` and `y` must be arrays. Received: {type(array).__name__} for {name!r}. "
                "Convert it with `numpy.asarray`; a Spark DataFrame is passed as `df`."
            )
    counts = {name: len(array) for name, array in zip(names, arrays, strict=True)}
    if len(set(counts.values())) > 1:
        raise DataError(
            "`x` and `y` must have the same number of rows. "
            f"Received: {', '.join(f'{name}: {count}' for name, count in counts.items())}. Check how they were made."
        )


def _joined(first: Any, second: Any) -> Any:
    if _is_frame(first):
        if not hasattr(second, "columns") or set(first.columns) != set(second.columns):
            raise DataError(
                f"`validation_data` must have the columns of the training rows, {list(first.columns)[:20]}. "
                f"Received: {list(getattr(second, 'columns', ()))[:20] or type(second).__name__}. Pass such a frame."
            )
        import pandas as pd

        return pd.concat([first, second], ignore_index=True)
    if _are_files(first) and _are_files(second):
        return [*first, *second]
    parts = [_array(first), _array(second)]
    if parts[0].shape[1:] != parts[1].shape[1:]:
        raise DataError(
            "`validation_data` must have rows of the shape of the training rows. "
            f"Received: {parts[0].shape[1:]} and {parts[1].shape[1:]}. Check how they were made."
        )
    return np.concatenate(parts)


class _Table:
    """Columns by name."""

    def __init__(self) -> None:
        self._columns: dict[str, pa.Array] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def table(self) -> pa.Table:
        import pyarrow as pa

        return pa.table(self._columns)

    def add_input(self, info: InputInfo, values: Any) -> tuple[str, ...]:
        if _is_frame(values):
            _check_names(info, values.shape[1])
            if len(set(map(str, values.columns))) < len(values.columns):
                raise DataError(
                    "`x` must have columns of different names. "
                    f"Received: columns={list(values.columns)[:20]} for {info.name!r}. Rename some."
                )
            return tuple(self.add(str(name), values[name].to_numpy(), info.name) for name in values.columns)
        if info.kind == "image" and _are_files(values):
            return (self._add_files(info.name, values),)
        array = _array(values)
        if info.kind == "structured":
            return self._add_structured(info, array)
        return (self.add(info.name, array),)

    def _add_files(self, name: str, values: Any) -> str:
        import pyarrow as pa

        # As they are: NumPy would cut zeros off their ends.
        self._columns[name] = pa.array(list(values), pa.binary())
        return name

    def add_label(self, name: str, values: Any) -> str:
        return self.add(name, _array(values))

    def add(self, name: str, values: NDArray[Any], owner: str = "") -> str:
        if name in self._columns:
            name = f"{owner}.{name}"
        self._columns[name] = _arrow(name, values)
        if values.ndim > 2:
            self.shapes[name] = tuple(values.shape[1:])
        return name

    def _add_structured(self, info: InputInfo, array: NDArray[Any]) -> tuple[str, ...]:
        if array.ndim == 1:
            array = array.reshape(-1, 1)
        if array.ndim != 2:
            raise DataError(
                f"`x` must be a table of two dimensions for {info.name!r}. Received: shape {array.shape}. Reshape it."
            )
        _check_names(info, array.shape[1])
        names = info.column_names or tuple(f"{info.name}_{number}" for number in range(array.shape[1]))
        columns = [
            # "01" is another category than "1".
            array[:, number] if name in info.categorical else _narrowed(array[:, number])
            for number, name in enumerate(names)
        ]
        return tuple(self.add(name, column, info.name) for name, column in zip(names, columns, strict=True))


def _array(values: Any) -> NDArray[Any]:
    if hasattr(values, "iloc"):
        values = values.to_numpy()
    if isinstance(values, (list, tuple)) and values and all(isinstance(value, (str, bytes)) for value in values):
        # NumPy would give each of them the room of the longest.
        return np.array(values, dtype=object)
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(
            f"`x` and `y` must be arrays whose rows have one shape. Received: {error}. Pad or cut the rows."
        ) from error


def _narrowed(column: NDArray[Any]) -> NDArray[Any]:
    """Numbers out of a column of objects or texts, as tables of mixed types have them, if all of it is numbers."""
    if column.dtype.kind not in "OUS":
        return column
    if any(isinstance(value, (bool, np.bool_)) for value in column.tolist()):
        return column
    try:
        return column.astype(np.float64)
    except (ValueError, TypeError):
        return column


def _are_files(values: Any) -> bool:
    """Whether they are pictures as encoded files, such as those of PNG."""
    listed = isinstance(values, (list, tuple)) or (isinstance(values, np.ndarray) and values.dtype == object)
    return listed and len(values) > 0 and all(isinstance(value, bytes) for value in values)


def _arrow(name: str, values: NDArray[Any]) -> pa.Array:
    import pyarrow as pa

    try:
        if values.dtype.kind in "OUS":
            return pa.array(_texts(values))
        if values.ndim < 2:
            return pa.array(np.ascontiguousarray(values))
        rows = np.ascontiguousarray(values).reshape(len(values), -1)
        return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"`x` and `y` must hold numbers, booleans or strings of one kind in a column. "
            f"Received: {name!r} of type {values.dtype}: {error}. Convert it first."
        ) from error


def _texts(values: NDArray[Any]) -> Any:
    if values.ndim > 1:
        raise ValueError(f"objects of shape {values.shape[1:]} in a row")
    found = [None if _is_missing(value) else value for value in values.tolist()]
    if all(isinstance(value, (str, bytes)) or value is None for value in found):
        return [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in found]
    if any(isinstance(value, str) for value in found):
        # As AutoKeras has it: a mixture is taken for what its texts are. Prediction has the same texts for them.
        return [category_text(value) for value in found]
    return found


def _is_missing(value: Any) -> bool:
    # pandas' own does not say whether it equals itself.
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and value != value)
