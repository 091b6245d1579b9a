"""Predictions in the form that AutoKeras gives them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["names", "zero_one", "one_hot", "multi_label", "numbers"]


@dataclass(frozen=True)
class Labels:
    """How the predictions of one head look.

    Attributes:
        kind: `"names"`: labels as text, of shape (n, 1). `"zero_one"`: 0.0 or 1.0, of shape (n, 1). `"one_hot"`: a
            single 1 in each row. `"multi_label"`: any number of them. `"numbers"`: as they are, of shape (n, k).
        width: length of a row that is encoded.
        dtype: NumPy's name of the labels' type.
    """

    kind: Kind
    width: int = 1
    dtype: str = "object"

    @classmethod
    def of(cls, head: Any, y: Any) -> Labels:
        """How AutoKeras would show predictions of a head that was trained on these labels."""
        labels = np.asarray(y)
        if not hasattr(head, "multi_label"):
            return cls("numbers")
        if labels.ndim > 1 and labels.shape[1] > 1:
            return cls("multi_label" if head.multi_label else "one_hot", int(labels.shape[1]))
        if labels.dtype.kind in "biuf" and np.unique(labels).tolist() == [0, 1]:
            return cls("zero_one")
        return cls("names", dtype=labels.dtype.str)

    @classmethod
    def of_column(cls, head: Any, shape: tuple[int, ...], classes: Sequence[Any]) -> Labels:
        """Likewise, of a head that was trained on a column of a DataFrame.

        Args:
            head: it.
            shape: of a row of the column.
            classes: labels in it, if they are scalars.
        """
        if not hasattr(head, "multi_label"):
            return cls("numbers")
        if shape:
            width = int(np.prod(shape))
            # A vector of one number has the probability of it.
            return cls("multi_label" if head.multi_label or width == 1 else "one_hot", width)
        # Booleans are numbers here, texts are none.
        return cls("zero_one" if list(classes) == [0, 1] else "names")

    def show(self, found: NDArray[Any]) -> NDArray[Any]:
        """Turn n labels into what AutoKeras would return."""
        if self.kind == "names":
            # Other rows may have longer names than those that the type was found of.
            labels = found if np.dtype(self.dtype).kind in "OUS" else found.astype(self.dtype)
            return np.array([_text(label) for label in labels.ravel().tolist()], dtype=np.str_).reshape(-1, 1)
        if self.kind == "zero_one":
            return found.astype(np.float32).reshape(-1, 1)
        if self.kind == "multi_label":
            return (_table(found) > 0.5).astype(np.float32)
        if self.kind == "one_hot":
            positions = found.argmax(axis=-1) if found.ndim > 1 else found.astype(int)
            rows: NDArray[Any] = np.eye(self.width)[positions]
            return rows
        return _table(found)


def _table(found: NDArray[Any]) -> NDArray[Any]:
    """As rows; NumPy cannot tell their length where there are none."""
    return found.reshape(len(found), math.prod(found.shape[1:]))


def _text(label: Any) -> str:
    return label.decode("utf-8") if isinstance(label, bytes) else str(label)
