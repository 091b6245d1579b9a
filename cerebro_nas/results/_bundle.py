"""Where the models of a search are, and how rows become their inputs and outputs become labels. Plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.storage import Best
from cerebro_nas.storage import StateFiles
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import ColumnSpec

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

_THRESHOLD = 0.5


@dataclass(frozen=True)
class OutputSpec:
    """How one output of a model reads as labels.

    Attributes:
        column: label column.
        kind: `"binary"` (one probability, of the second class), `"onehot"` (one probability per class),
            `"multilabel"` (one probability per label, of which a row has any number) or `"values"` (numbers as they
            are).
        classes: labels in the order of the probabilities, those of `"multilabel"` by their positions; empty for
            `"values"`.
        width: numbers per row.
    """

    column: str
    kind: str
    classes: tuple[Any, ...] = ()
    width: int = 1

    @property
    def is_numbers(self) -> bool:
        """Whether labels are the numbers that the model gives, and no classes by name."""
        return self.kind in ("values", "multilabel")

    def decode(self, output: NDArray[Any]) -> NDArray[Any]:
        """Turn raw output of shape (n, ...) into n labels.

        Those of `"multilabel"` are rows of zeros and ones; `"values"` of one number become shape (n,).
        """
        if self.kind == "binary":
            return np.take(self.classes, (output.reshape(len(output)) > _THRESHOLD).astype(int))
        if self.kind == "onehot":
            positions: NDArray[np.intp] = output.argmax(axis=-1)
            return np.take(self.classes, positions)
        if self.kind == "multilabel":
            return (output > _THRESHOLD).astype(np.float32)
        return output[:, 0] if output.ndim == 2 and output.shape[1] == 1 else output

    def encode(self, labels: NDArray[Any]) -> NDArray[np.float32]:
        """Turn labels (n,), or rows that are encoded already (n, k), into targets.

        Raises:
            ConfigError: a label is none of the classes, or no number where numbers were trained on.
        """
        labels = np.asarray(labels)
        if not self.is_numbers and labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if self.is_numbers or labels.ndim == 2:
            return self._numbers(labels.reshape(len(labels), math.prod(labels.shape[1:])))
        index = {label: position for position, label in enumerate(self.classes)}
        unknown = sorted({str(label) for label in labels.tolist() if label not in index})
        if unknown:
            raise ConfigError(
                f"Labels should be among the classes that the model was trained on, {list(self.classes)[:20]}. "
                f"Received: {unknown[:10]} in {self.column!r}. Remove those rows, or search again with them."
            )
        positions = np.array([index[label] for label in labels.tolist()])
        if self.kind == "binary":
            return positions.astype(np.float32).reshape(-1, 1)
        return np.take(np.eye(len(self.classes), dtype=np.float32), positions, axis=0)

    def _numbers(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        try:
            return rows.astype(np.float32)
        except (TypeError, ValueError) as error:
            others = sorted({str(label) for label in rows.ravel().tolist() if not _is_number(label)})
            raise ConfigError(
                "Labels should be numbers, as the model was trained on. "
                f"Received: {others[:10]} in {self.column!r}. Convert them, or remove those rows."
            ) from error


@dataclass(frozen=True)
class ModelSource:
    """Everything needed to load a trial's model and to use it on rows; it travels to Spark's executors.

    Attributes:
        states_url: directory of specs and states.
        inputs: per model input, the columns that feed it.
        outputs: per model output, how it reads.
        output_columns: names of the raw output columns that `transform` adds.
        train_shards: train units of an epoch, so that epochs can be turned into generations.
        batch_size: rows per prediction step.
        imports: modules of the user's that register losses, metrics or layers with Keras, each with its folder.
        fingerprint: of the data that the models were trained on; empty if it is unknown.
    """

    states_url: str
    inputs: tuple[tuple[ColumnSpec, ...], ...]
    outputs: tuple[OutputSpec, ...]
    output_columns: tuple[str, ...]
    train_shards: int
    batch_size: int = 256
    fingerprint: str = ""
    # What a process has registered says nothing of the model.
    imports: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    def with_output_columns(self, names: Sequence[str]) -> ModelSource:
        """Return the same source with other names for the output columns."""
        if isinstance(names, str) or len(names) != len(self.outputs):
            raise ConfigError(
                f"`output_columns` must be a list of {len(self.outputs)} name(s), one per label. "
                f"Received: output_columns={names!r}. Pass one name per label column."
            )
        return replace(self, output_columns=tuple(names))

    def best(self, trial: str) -> Best | None:
        """The state of a trial that the search marked best, if any."""
        return StateFiles(self.states_url).best(trial)

    def load(self, trial: str, name: str) -> keras.Model:
        """Build the model of a trial, compiled, with the state that the store calls `name`."""
        from cerebro_nas.worker import build_model
        from cerebro_nas.worker import import_user_modules
        from cerebro_nas.worker import restore_state

        import_user_modules(self.imports)
        states = StateFiles(self.states_url)
        try:
            spec = CandidateSpec.from_json(states.read_spec(trial))
        except ValueError as error:
            raise CorruptStateError(
                f"The specification of trial {trial!r} in {self.states_url} is damaged: {error} It is not used."
            ) from error
        model = build_model(spec)
        restore_state(model, states.read(trial, name))
        return model

    def assemble(self, columns: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Turn column tensors (by name, n rows each) into the model's inputs."""
        return [assemble(group, columns) for group in self.inputs]


def assemble(group: tuple[ColumnSpec, ...], columns: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """The values of one input: the tensor of its column, or its scalar columns side by side as float32."""
    if len(group) == 1 and group[0].shape:
        return columns[group[0].name]
    return np.stack([columns[spec.name].astype(np.float32) for spec in group], axis=-1)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
