"""Which columns feed which inputs of a graph, and what their values are."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import autokeras

from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space._columns import InputInfo
from cerebro_nas.search_space._columns import Layout
from cerebro_nas.search_space._columns import NamedColumns
from cerebro_nas.search_space._columns import groups_in_order

_KINDS = ("numerical", "categorical")
# What may hold the numbers of words; what is in them is looked at when they have been read.
_TOKENS = ("vector", "array", "binary", None)


def make_layout(
    inputs: Sequence[Any],
    heads: Sequence[Any],
    features: NamedColumns,
    labels: NamedColumns,
    kind: Callable[[str], str | None],
) -> Layout:
    """Give inputs and heads their columns.

    Args:
        inputs: AutoKeras' inputs.
        heads: AutoKeras' heads.
        features: what the user named for the inputs.
        labels: what the user named for the heads.
        kind: says what a column holds (see `cerebro_nas.data.Rows.kind`), None for one that is not there.

    Raises:
        ConfigError: columns, inputs and heads do not fit.
    """
    groups = groups_in_order("feature_columns", features, [node.name for node in inputs], "input")
    if groups is None:
        groups = spread(inputs, features.names)
    uses: dict[str, str] = {}
    for node, group in zip(inputs, groups, strict=True):
        _check_types(node, group, kind)
        for name in group:
            use = _use(node, name, kind(name))
            if uses.setdefault(name, use) != use:
                raise ConfigError(
                    f"`feature_columns` must use a column for one kind of input. Received: column {name!r} as "
                    f"{uses[name]} and as {use}. Add a copy of the column."
                )
    tensors = {name: use for name, use in uses.items() if use != "tensor"}
    names = labels_of(heads, labels)
    pairs = zip(heads, names, strict=True)
    numbers = tuple(name for head, name in pairs if not isinstance(head, autokeras.ClassificationHead))
    return Layout(groups, names, tensors, numbers)


def asked_columns(node: Any) -> tuple[tuple[str, ...], dict[str, str]]:
    """Names and kinds of columns as the user gave them: configuring an input writes those of the data over them."""
    if not hasattr(node, "asked_columns"):
        names, types = getattr(node, "column_names", None), getattr(node, "column_types", None)
        node.asked_columns = (tuple(names or ()), dict(types or {}))
    found: tuple[tuple[str, ...], dict[str, str]] = node.asked_columns
    return found


def input_info(node: Any) -> InputInfo:
    """What an input of AutoKeras takes."""
    kinds = {autokeras.StructuredDataInput: "structured", autokeras.TextInput: "text", autokeras.ImageInput: "image"}
    kind = next((name for of, name in kinds.items() if isinstance(node, of)), "tensor")
    names, types = asked_columns(node)
    categorical = tuple(name for name, of in types.items() if of == "categorical")
    return InputInfo(str(node.name), kind, names, categorical)


def spread(inputs: Sequence[Any], names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """All columns to a single input; else those that inputs name for themselves, and one for each of the others."""
    if len(inputs) == 1:
        return (names,)
    own = [asked_columns(node)[0] for node in inputs]
    own = [group if all(name in names for name in group) else () for group in own]
    others = [name for name in names if not any(name in group for group in own)]
    if len(others) != sum(not group for group in own):
        raise ConfigError(
            f"`feature_columns` must say which columns feed each of the {len(inputs)} inputs. "
            f"Received: feature_columns={list(names)}. Pass one list of columns per input, or a dict by input's name."
        )
    rest = iter(others)
    return tuple(group or (next(rest),) for group in own)


def _check_types(node: Any, group: Sequence[str], kind: Callable[[str], str | None]) -> None:
    """Refuse kinds of columns that are not there, where all columns are single values."""
    unknown = [name for name in asked_columns(node)[1] if name not in group]
    if unknown and all(kind(name) in ("string", "number", "boolean") for name in group):
        raise ConfigError(
            f"`column_types` must name columns of the input, {', '.join(map(repr, group))}. "
            f"Received: {', '.join(map(repr, unknown))}. Change the names."
        )


def _use(node: Any, name: str, kind: str | None) -> str:
    if isinstance(node, autokeras.TextInput):
        return "tensor" if kind in _TOKENS else "text"
    if not isinstance(node, autokeras.StructuredDataInput):
        return "tensor"
    asked = asked_columns(node)[1].get(name)
    if asked not in (None, *_KINDS):
        raise ConfigError(
            f"`column_types` must map columns to 'numerical' or 'categorical'. Received: {name}={asked!r}. Choose one."
        )
    if asked == "numerical" and kind == "string":
        raise ConfigError(
            "`column_types` must call a column of strings 'categorical'. "
            f"Received: {name}='numerical', and the column holds strings. Cast it to numbers first."
        )
    scalar = kind in ("string", "number", "boolean")
    return "category" if kind == "string" or (asked == "categorical" and scalar) else "tensor"


def labels_of(heads: Sequence[Any], labels: NamedColumns) -> tuple[str, ...]:
    """The label column of each head.

    Raises:
        ConfigError: there are more or fewer columns than heads.
    """
    groups = groups_in_order("label_columns", labels, [head.name for head in heads], "head")
    names = labels.names if groups is None else tuple(name for group in groups for name in group)
    if len(names) != len(heads):
        raise ConfigError(
            f"Argument `label_columns` should name one column for each of the {len(heads)} heads. "
            f"Received: label_columns={labels.plain()}. Name as many as heads."
        )
    return names
