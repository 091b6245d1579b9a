"""What can be said of a model that has been built."""

from __future__ import annotations

import json

import keras

from cerebro_nas.errors import BuildError


def architecture_text(model: keras.Model) -> str:
    """The architecture as JSON, equal for equal architectures."""
    config = json.loads(model.to_json())
    # Optimizer, loss and metrics differ between candidates that share an architecture.
    config.pop("compile_config", None)
    return json.dumps(config, sort_keys=True, separators=(",", ":"))


def check_size(parameters: int, flops: int, *, max_model_size: int | None, max_flops: int | None) -> None:
    """Refuse a candidate that is too large.

    Raises:
        BuildError: `reason="oversized"`: it has more parameters or operations than it may.
    """
    if max_flops is not None and flops > max_flops:
        raise BuildError(
            f"The candidate takes {flops:,} floating point operations a row, more than max_flops={max_flops:,}.",
            reason="oversized",
            parameters=parameters,
        )
    if max_model_size is not None and parameters > max_model_size:
        raise BuildError(
            f"The candidate has {parameters:,} parameters, more than max_model_size={max_model_size:,}.",
            reason="oversized",
            parameters=parameters,
        )
