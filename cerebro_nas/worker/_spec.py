"""What a worker is told: the search it serves and the candidates it trains. Plain values, JSON both ways."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any

from cerebro_nas.worker._allowed import parse_json


@dataclass(frozen=True)
class ColumnSpec:
    """One stored column as a tensor.

    Attributes:
        name: column in the Parquet shards.
        shape: shape of one row's tensor, without the batch dimension; `()` for a scalar.
        dtype: NumPy name of the stored type (`"uint8"`, `"float32"`, ..., `"str"`).
        encoding: `"scalar"`, `"list"` (Arrow list of `dtype`, row-major) or `"npy"` (binary holding a .npy payload,
            Petastorm's NdarrayCodec).
        encoder: how a raw value of the user's column becomes this tensor (`encode_column` does it); None for numbers,
            which are stored as they are. `{"kind": "categories", "values": [...]}`: position in `values`,
            `len(values)` for what is not among them. `{"kind": "tokens", "vocabulary": [...], "length": n}`: n numbers
            per text, 0 where it has ended, 1 for words that are not in the vocabulary, 2 for its first, and so on.
            `{"kind": "image"}`: encoded pictures, or Spark's structs of them, as pixels.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    encoding: str
    # Dicts have no hash, and specifications are keys of caches.
    encoder: dict[str, Any] | None = field(default=None, hash=False)


@dataclass(frozen=True)
class ShardSpec:
    """One shard: a Parquet file, by its path relative to the data set's directory."""

    split: str
    index: int
    path: str
    rows: int
    nbytes: int
    sha256: str = ""


@dataclass(frozen=True)
class SearchSpec:
    """What holds for every unit of a search.

    Attributes:
        data_url: directory of the prepared data set (`file://` URL or path; the store resolves it).
        state_url: directory below which workers write `<trial>/<generation>` states.
        features: per model input, the columns that feed it (one column gives its tensor; several scalar columns are
            stacked in order along the last axis).
        labels: per model output, the column that feeds it, with the encoding of the targets applied (`targets`).
        targets: per model output: `{"kind": "classes", "classes": [...], "as": "onehot" | "binary"}` for scalar
            labels, mapped to their position in the sorted `classes` ("onehot": float32 of shape (k,); "binary":
            float32 of shape (1,)), or `{"kind": "values"}` for labels used as they are (one-hot vectors, numbers to
            regress on; float32, a scalar becomes shape (1,)), with `"as": "multilabel"` where each number says
            whether the row has a label. Classes may have `"weights"`, one for each, by which
            the loss of training rows is multiplied.
        seed: seed of the search; the order of rows follows from (seed, trial, epoch, shard).
        batch_size: rows per step.
        threads: threads per worker (intra-op; inter-op is 1).
        checkpoint: write every generation to the store (asynchronously).
        weights: the column of sample weights, by which losses and weighted metrics are multiplied, or None.
        imports: modules of the user's that register losses, metrics or layers with Keras, each with its folder.
    """

    data_url: str
    state_url: str
    shards: tuple[ShardSpec, ...]
    features: tuple[tuple[ColumnSpec, ...], ...]
    labels: tuple[ColumnSpec, ...]
    targets: tuple[dict[str, Any], ...]
    seed: int
    batch_size: int
    threads: int = 1
    checkpoint: bool = True
    weights: ColumnSpec | None = None
    imports: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> str:
        """Serialise; `from_json` is the inverse."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SearchSpec:
        """Rebuild from `to_json`'s text.

        Raises:
            ValueError: it is no such text; the message names the part that is not.
        """
        plain = parse_json(text)
        raw = _object({**_LATER, **plain} if isinstance(plain, dict) else plain, _SEARCH, "a search")
        return cls(
            **{
                **raw,
                "shards": tuple(ShardSpec(**_object(shard, _SHARD, "a shard")) for shard in raw["shards"]),
                "features": tuple(tuple(_column(c) for c in _list(group, "features")) for group in raw["features"]),
                "labels": tuple(_column(c) for c in raw["labels"]),
                "targets": tuple(raw["targets"]),
                "weights": None if raw["weights"] is None else _column(raw["weights"]),
                "imports": tuple((name, folder) for name, folder in raw["imports"]),
            }
        )


@dataclass(frozen=True)
class CandidateSpec:
    """Everything that defines a candidate before its first step.

    Attributes:
        trial: identifier of the trial.
        model: `model.to_json()` text, with the names that a fresh Keras session gives, so that equal architectures
            have equal text.
        optimizer: `keras.optimizers.serialize(...)` of the optimizer.
        loss: per output, `keras.losses.serialize(...)` or a registered name.
        loss_weights: per output, what its loss counts for in the sum; empty: 1 each.
        metrics: per output, a list of serialised metrics or registered names.
        adapted: statistics of preprocessing layers by layer name, e.g. `{"normalization": {"mean": [...],
            "variance": [...]}}`; they come from the whole data set, so that no worker adapts on its part.
        seed: seed of the initial weights.
        parameters: number of parameters.
        flops: floating point operations of a forward pass of one row.
        batch_size: rows per step; 0: that of the search.
        parent: trial whose weights it begins with, where layers match; empty: it begins afresh.
        parent_state: name under which the store has them.
        transformation: name under which a function of the user's is registered with Keras; it changes the rows of each
            batch, as a `tf.data.Dataset`. Empty: none.
    """

    trial: str
    model: str
    optimizer: dict[str, Any]
    loss: tuple[Any, ...]
    metrics: tuple[tuple[Any, ...], ...]
    adapted: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    seed: int = 0
    parameters: int = 0
    flops: int = 0
    batch_size: int = 0
    parent: str = ""
    parent_state: str = ""
    loss_weights: tuple[float, ...] = ()
    transformation: str = ""

    def with_parent(self, parent: str, state: str) -> CandidateSpec:
        """The candidate that begins with this state of another trial."""
        return replace(self, parent=parent, parent_state=state)

    def to_json(self) -> str:
        """Serialise; `from_json` is the inverse."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CandidateSpec:
        """Rebuild from `to_json`'s text.

        Raises:
            ValueError: it is no such text; the message names the part that is not.
        """
        plain = parse_json(text)
        raw = _object({**_LATER_CANDIDATE, **plain} if isinstance(plain, dict) else plain, _CANDIDATE, "a candidate")
        metrics = tuple(tuple(_list(group, "metrics")) for group in raw["metrics"])
        weights = tuple(raw["loss_weights"])
        if weights and len(weights) != len(raw["loss"]):
            raise ValueError(
                "The specification of a candidate must have a weight for each loss, or none. "
                f"Received: {len(weights)} for {len(raw['loss'])}."
            )
        return cls(**{**raw, "loss": tuple(raw["loss"]), "metrics": metrics, "loss_weights": weights})


# --- reading what may have been changed -------------------------------------------------------------------------------


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 32 and all(_is_count(size) for size in value)


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_adapted(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(layer, dict) and all(_is_list_of_numbers(numbers) for numbers in layer.values())
        for layer in value.values()
    )


def _is_list_of_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number) for number in value
    )


def is_encoder(value: Any) -> bool:
    """Whether a JSON value can be the `encoder` of a `ColumnSpec`."""
    if value is None:
        return True
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in _ENCODERS or value.keys() != {"kind", *_ENCODERS[kind]}:
        return False
    return all(fits(value[name]) for name, fits in _ENCODERS[kind].items())


def _is_pair_of_texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(text, str) for text in value)


def _are_distinct_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value) and len(set(value)) == len(value)


_Fields = Mapping[str, Callable[[Any], bool]]

_ENCODERS: Mapping[str, _Fields] = {
    "categories": {"values": _are_distinct_texts},
    "tokens": {"vocabulary": _are_distinct_texts, "length": lambda value: _is_count(value) and value > 0},
    "image": {},
}
_COLUMN: _Fields = {
    "name": _is(str),
    "shape": _is_shape,
    "dtype": _is(str),
    "encoding": _is(str),
    "encoder": is_encoder,
}
_SHARD: _Fields = {
    "split": _is(str),
    "index": _is_count,
    "path": _is(str),
    "rows": _is_count,
    "nbytes": _is_count,
    "sha256": _is(str),
}
_SEARCH: _Fields = {
    "data_url": _is(str),
    "state_url": _is(str),
    "shards": _is(list),
    "features": _is(list),
    "labels": _is(list),
    "targets": _is_list_of_objects,
    "seed": _is_integer,
    "batch_size": _is_count,
    "threads": _is_count,
    "checkpoint": _is(bool),
    "weights": lambda value: value is None or isinstance(value, dict),
    "imports": lambda value: isinstance(value, list) and all(_is_pair_of_texts(item) for item in value),
}
# What the specifications of earlier versions lack.
_LATER: Mapping[str, Any] = {"weights": None, "imports": []}
_CANDIDATE: _Fields = {
    "trial": _is(str),
    "model": _is(str),
    "optimizer": _is(dict),
    "loss": _is(list),
    "metrics": _is(list),
    "adapted": _is_adapted,
    "seed": _is_count,
    "parameters": _is_count,
    "flops": _is_count,
    "batch_size": _is_count,
    "parent": _is(str),
    "parent_state": _is(str),
    "loss_weights": _is_list_of_numbers,
    "transformation": _is(str),
}
_LATER_CANDIDATE: Mapping[str, Any] = {"loss_weights": [], "transformation": ""}


def _object(value: Any, fields: _Fields, what: str) -> dict[str, Any]:
    """The value, which must have these fields and no others."""
    if not isinstance(value, dict):
        raise ValueError(f"The specification of {what} must be an object. Received: {type(value).__name__}.")
    if value.keys() != fields.keys():
        odd = sorted(map(str, value.keys() ^ fields.keys()))[:5]
        raise ValueError(
            f"The specification of {what} must have the fields {', '.join(fields)}. Received: {odd} amiss."
        )
    for name, fits in fields.items():
        if not fits(value[name]):
            shown = repr(value[name])[:80]
            raise ValueError(f"The specification of {what} has a field that it cannot have. Received: {name}={shown}.")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"The specification has a field that it cannot have. Received: {name} of {value!r:.80}.")
    return value


def _column(raw: Any) -> ColumnSpec:
    # Descriptions written before there were encoders have no such field.
    found = _object({"encoder": None, **raw} if isinstance(raw, dict) else raw, _COLUMN, "a column")
    return ColumnSpec(**{**found, "shape": tuple(found["shape"])})
