"""Which columns feed which inputs and heads, as the user says it and as it comes out. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cerebro_nas.errors import ConfigError


@dataclass(frozen=True)
class NamedColumns:
    """The columns that the user names for inputs, or for heads.

    Attributes:
        names: all of them, each once.
        groups: those of each input or head; None where a plain list was given, which says nothing of that.
        keys: names of the inputs or heads that the groups are for, None if they are in order.
    """

    names: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...] | None = None
    keys: tuple[str, ...] | None = None

    def plain(self) -> Any:
        """As the user wrote it, as JSON values."""
        if self.groups is None:
            return list(self.names)
        groups = [list(group) for group in self.groups]
        return groups if self.keys is None else dict(zip(self.keys, groups, strict=True))


@dataclass(frozen=True)
class InputInfo:
    """What an input of a graph takes.

    Attributes:
        name: of the node.
        kind: `"tensor"`, `"image"`, `"text"` or `"structured"`.
        column_names: of structured data, as far as the user named them.
        categorical: those that hold categories whatever their values look like.
    """

    name: str
    kind: str
    column_names: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """What a search space makes of the columns that the user names.

    Attributes:
        features: columns of each input.
        labels: column of each head.
        uses: by feature column that is no tensor, what its values are: `"category"` or `"text"`.
        number_labels: label columns of heads that give no classes.
    """

    features: tuple[tuple[str, ...], ...]
    labels: tuple[str, ...]
    uses: Mapping[str, str]
    number_labels: tuple[str, ...] = ()

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """The columns of all inputs, each once."""
        return tuple(dict.fromkeys(name for group in self.features for name in group))


def named_columns(argument: str, value: Any) -> NamedColumns:
    """Read `feature_columns` or `label_columns`.

    Args:
        argument: its name, for messages.
        value: a column, a list of columns, a list with a list of columns for each input, or a dict by input's name.

    Raises:
        ConfigError: it is nothing like that.
    """
    keys = None
    if isinstance(value, Mapping):
        keys, value = tuple(value), list(value.values())
        groups = [_group(item) for item in value]
    elif isinstance(value, str) and value:
        return NamedColumns((value,))
    elif isinstance(value, Sequence) and value and all(isinstance(item, str) and item for item in value):
        return NamedColumns(tuple(value))
    else:
        groups = [_group(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else []
    if not groups or not all(groups) or not all(isinstance(key, str) for key in keys or ()):
        raise ConfigError(
            f"`{argument}` must be a list of column names, a list of such lists (one for each input), or a dict from "
            f"inputs' names to columns. Received: {argument}={value!r}. Pass for example ['x']."
        )
    found = [group or () for group in groups]
    return NamedColumns(tuple(dict.fromkeys(name for group in found for name in group)), tuple(found), keys)


def _group(item: Any) -> tuple[str, ...] | None:
    if isinstance(item, str) and item:
        return (item,)
    if isinstance(item, Sequence) and item and all(isinstance(name, str) and name for name in item):
        return tuple(item)
    return None


def groups_in_order(
    argument: str, columns: NamedColumns, ends: Sequence[str], what: str
) -> tuple[tuple[str, ...], ...] | None:
    """The groups of `columns` in the order of the inputs (or heads), None where there are none.

    Args:
        argument: its name, for messages.
        columns: what the user named.
        ends: names of the inputs (or heads).
        what: `"input"` or `"head"`.

    Raises:
        ConfigError: there are more or fewer groups, or groups for others.
    """
    if columns.groups is None:
        return None
    if columns.keys is not None:
        if set(columns.keys) != set(ends):
            raise ConfigError(
                f"`{argument}` must have the names of the {what}s for keys: {', '.join(map(repr, ends))}. "
                f"Received: {', '.join(map(repr, columns.keys))}. Name {what}s with their argument `name`."
            )
        return tuple(columns.groups[columns.keys.index(name)] for name in ends)
    if len(columns.groups) != len(ends):
        raise ConfigError(
            f"`{argument}` must say which columns feed each of the {len(ends)} {what}s. "
            f"Received: {argument}={columns.plain()}. Pass one list of columns per {what}."
        )
    return columns.groups
