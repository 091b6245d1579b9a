"""From the JSON values of `statistics.json` to the description of a data set: everything is checked first."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from cerebro_nas.data._types import ColumnStatistics
from cerebro_nas.data._types import PreparedData
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import ShardSpec
from cerebro_nas.worker import is_encoder

_LARGEST = 2**63
_MAX_DIMENSIONS = 32

Fields = Mapping[str, Callable[[Any], bool]]


def from_plain(plain: Any, url: str, version: int) -> PreparedData:
    """Rebuild a description.

    Args:
        plain: what `json.loads` gave.
        url: where the data set is now, which need not be where it was written: a store may be mounted elsewhere.
        version: the version of the format that is read.

    Raises:
        ValueError: it is no description; the message names the part that is not.
    """
    if isinstance(plain, dict) and plain.get("version") != version:
        raise ValueError(f"version {plain.get('version')!r:.20} is not {version}")
    # Descriptions written before there were weights have no such field.
    fields = _checked({"weights": None, **plain} if isinstance(plain, dict) else plain, _PREPARED, "the file")
    return PreparedData(
        url=url,
        fingerprint=fields["fingerprint"],
        features=tuple(_column(column) for column in fields["features"]),
        labels=tuple(_column(column) for column in fields["labels"]),
        shards=tuple(ShardSpec(**_checked(shard, _SHARD, "a shard")) for shard in fields["shards"]),
        statistics={name: _statistics(found) for name, found in fields["statistics"].items()},
        settings=fields["settings"],
        weights=None if fields["weights"] is None else _column(fields["weights"]),
    )


def _column(plain: Any) -> ColumnSpec:
    # Descriptions written before there were encoders have no such field.
    fields = _checked({"encoder": None, **plain} if isinstance(plain, dict) else plain, _COLUMN, "a column")
    return ColumnSpec(**{**fields, "shape": tuple(fields["shape"])})


def _statistics(plain: Any) -> ColumnStatistics:
    fields = _checked(plain, _STATISTICS, "the statistics of a column")
    if len(fields["classes"]) != len(fields["class_counts"]) or len(fields["mean"]) != len(fields["variance"]):
        raise ValueError(f"the statistics of {fields['name']!r:.80} are of differing length")
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return ColumnStatistics(**{**fields, **lists})


def _checked(plain: Any, fields: Fields, what: str) -> dict[str, Any]:
    """The fields of an object; others that it may have are of a later version, and left out."""
    if not isinstance(plain, dict):
        raise ValueError(f"{what} should be an object, not {plain!r:.40}")
    for name, fits in fields.items():
        if name not in plain:
            raise ValueError(f"{what} lacks {name!r}")
        if not fits(plain[name]):
            raise ValueError(f"{what} has {name}={plain[name]!r:.80}")
    return {name: plain[name] for name in fields}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(fits(item) for item in value)


def _is_path(value: Any) -> bool:
    """Whether it stays below the data set."""
    if not isinstance(value, str) or not value or "\0" in value or "\\" in value:
        return False
    path = PurePosixPath(value)
    return not path.is_absolute() and ".." not in path.parts


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= _MAX_DIMENSIONS and all(_is_count(size) and size for size in value)


_COLUMN: Fields = {
    "name": _is_text,
    "shape": _is_shape,
    "dtype": _is_text,
    "encoding": lambda value: value in ("scalar", "list", "npy"),
    "encoder": is_encoder,
}
_SHARD: Fields = {
    "split": lambda value: value in ("train", "valid"),
    "index": _is_count,
    "path": _is_path,
    "rows": _is_count,
    "nbytes": _is_count,
    "sha256": _is_text,
}
_STATISTICS: Fields = {
    "name": _is_text,
    "rows": _is_count,
    "nulls": _is_count,
    "minimum": lambda value: value is None or _is_number(value),
    "maximum": lambda value: value is None or _is_number(value),
    "mean": _is_list_of(_is_number),
    "variance": _is_list_of(_is_number),
    "classes": _is_list_of(lambda value: isinstance(value, (str, bool)) or _is_number(value)),
    "class_counts": _is_list_of(_is_count),
}
_PREPARED: Fields = {
    "fingerprint": _is_text,
    "features": _is_list_of(lambda value: isinstance(value, dict)),
    "labels": _is_list_of(lambda value: isinstance(value, dict)),
    "shards": _is_list_of(lambda value: isinstance(value, dict)),
    "statistics": lambda value: isinstance(value, dict),
    "settings": lambda value: isinstance(value, dict),
    "weights": lambda value: value is None or isinstance(value, dict),
}
