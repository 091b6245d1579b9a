"""What a worker is told: the search it serves and the candidates it trains. Plain values, JSON both ways."""

from __future__ import annotations

import json
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from typing import Any


@dataclass(frozen=True)
class ColumnSpec:
    """One stored column as a tensor.

    Attributes:
        name: column in the Parquet shards.
        shape: shape of one row's tensor, without the batch dimension; `()` for a scalar.
        dtype: NumPy name of the stored type (`"uint8"`, `"float32"`, ..., `"str"`).
        encoding: `"scalar"`, `"list"` (Arrow list of `dtype`, row-major) or `"npy"` (binary holding a .npy payload,
            Petastorm's NdarrayCodec).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    encoding: str


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
            regress on; float32, a scalar becomes shape (1,)).
        seed: seed of the search; the order of rows follows from (seed, trial, epoch, shard).
        batch_size: rows per step.
        threads: threads per worker (intra-op; inter-op is 1).
        checkpoint: write every generation to the store (asynchronously).
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

    def to_json(self) -> str:
        """Serialise; `from_json` is the inverse."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SearchSpec:
        """Rebuild from `to_json`'s text."""
        raw = json.loads(text)
        return cls(
            data_url=raw["data_url"],
            state_url=raw["state_url"],
            shards=tuple(ShardSpec(**s) for s in raw["shards"]),
            features=tuple(tuple(_column(c) for c in group) for group in raw["features"]),
            labels=tuple(_column(c) for c in raw["labels"]),
            targets=tuple(raw["targets"]),
            seed=raw["seed"],
            batch_size=raw["batch_size"],
            threads=raw["threads"],
            checkpoint=raw["checkpoint"],
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
        metrics: per output, a list of serialised metrics or registered names.
        adapted: statistics of preprocessing layers by layer name, e.g. `{"normalization": {"mean": [...],
            "variance": [...]}}`; they come from the whole data set, so that no worker adapts on its part.
        seed: seed of the initial weights.
        parameters: number of parameters.
    """

    trial: str
    model: str
    optimizer: dict[str, Any]
    loss: tuple[Any, ...]
    metrics: tuple[tuple[Any, ...], ...]
    adapted: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    seed: int = 0
    parameters: int = 0

    def to_json(self) -> str:
        """Serialise; `from_json` is the inverse."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CandidateSpec:
        """Rebuild from `to_json`'s text."""
        raw = json.loads(text)
        raw["loss"] = tuple(raw["loss"])
        raw["metrics"] = tuple(tuple(m) for m in raw["metrics"])
        return cls(**raw)


def _column(raw: dict[str, Any]) -> ColumnSpec:
    return ColumnSpec(name=raw["name"], shape=tuple(raw["shape"]), dtype=raw["dtype"], encoding=raw["encoding"])
