"""AutoKeras' two helper layers under their registered names.

Workers then need neither AutoKeras nor KerasTuner, and start faster. In a process that has AutoKeras loaded already
its own classes are used, so that no name is registered twice.
"""

from __future__ import annotations

import sys
from typing import Any

import keras


def _shims() -> dict[str, Any]:
    loaded = sys.modules.get("autokeras.keras_layers")
    if loaded is not None:
        return {"CastToFloat32": loaded.CastToFloat32, "ExpandLastDim": loaded.ExpandLastDim}

    class CastToFloat32(keras.layers.Layer):  # type: ignore[misc]
        """Casts its input to float32."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(autocast=False, **_without(kwargs, "autocast"))

        def call(self, inputs: Any) -> Any:
            return keras.ops.cast(inputs, "float32")

        def compute_output_spec(self, inputs: Any) -> Any:
            return keras.KerasTensor(inputs.shape, dtype="float32")

    class ExpandLastDim(keras.layers.Layer):  # type: ignore[misc]
        """Adds an axis of size 1 at the end."""

        def call(self, inputs: Any) -> Any:
            return keras.ops.expand_dims(inputs, axis=-1)

        def compute_output_shape(self, input_shape: Any) -> Any:
            return (*input_shape, 1)

    return {"CastToFloat32": CastToFloat32, "ExpandLastDim": ExpandLastDim}


def _without(kwargs: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key != name}


_LAYERS = _shims()
CUSTOM_OBJECTS: dict[str, Any] = {**_LAYERS, **{f"Custom>{name}": layer for name, layer in _LAYERS.items()}}
