"""What an estimator is made of, checked as far as that goes without looking into the model."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.keras._own import check_registered
from cerebro_nas.keras._own import transformation_name

_COMPILED = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics")


class EstimatorArguments:
    """A Keras model and how it is to be trained; see `SparkEstimator`."""

    def __init__(
        self,
        model: Any,
        custom_objects: Mapping[str, Any] | None = None,
        optimizer: Any = None,
        loss: Any = None,
        batch_size: int = 32,
        loss_weights: Any = None,
        metrics: Any = (),
        callbacks: Sequence[Any] | None = (),
        transformation_fn: Any = None,
    ) -> None:
        _check_model(model)
        check_registered(custom_objects)
        if optimizer is None and loss is None:
            compiled = _compiled(model)
            optimizer, loss = compiled["optimizer"], compiled["loss"]
            metrics = metrics or compiled["metrics"]
            loss_weights = compiled["loss_weights"] if loss_weights is None else loss_weights
        for name, value in (("optimizer", optimizer), ("loss", loss)):
            if value is None:
                raise ConfigError(
                    f"`{name}` must be given, or neither `optimizer` nor `loss`: then those of the compiled model are "
                    f"used. Received: {name}=None. Pass it."
                )
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.loss_weights = loss_weights
        self.metrics = () if metrics is None else metrics
        self.batch_size = _checked_batch_size(batch_size)
        self.callbacks = callbacks or ()
        self.transformation = transformation_name(transformation_fn)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, batch_size={self.batch_size})"


def _check_model(model: Any) -> None:
    import keras

    if isinstance(model, keras.Model):
        return
    old = any(kind.__module__.split(".")[0] in ("tf_keras", "tensorflow") for kind in type(model).__mro__)
    hint = "That is one of Keras 2; make it with `import keras` (Keras 3)." if old else "Pass `keras.Model(...)`."
    raise ConfigError(f"`model` must be a Keras model. Received: model of type {type(model).__name__}. {hint}")


def _compiled(model: Any) -> dict[str, Any]:
    """What the model was compiled with."""
    import keras

    config = model.get_compile_config() if model.compiled else None
    if not config:
        raise ConfigError(
            "`optimizer` and `loss` must be given where the model is not compiled. "
            "Received: optimizer=None, loss=None. Pass both, or compile the model."
        )
    try:
        found = {name: keras.saving.deserialize_keras_object(config.get(name)) for name in _COMPILED}
    except (TypeError, ValueError) as error:
        raise ConfigError(
            "`model` must be compiled with what Keras has, or with what is registered with it "
            f"(`keras.saving.register_keras_serializable`) in a module that workers can import. Received: {error} "
            "Register it, or pass `optimizer`, `loss` and `metrics` of Keras."
        ) from error
    if found["weighted_metrics"]:
        raise ConfigError(
            "`model` must be compiled with `metrics`: rows have no weights here. "
            f"Received: weighted_metrics={found['weighted_metrics']!r}. Name them in `metrics`."
        )
    return found


def _checked_batch_size(value: Any) -> int:
    # `hp_quniform` of floats gives 32.0.
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        number = float(value)
        if number.is_integer() and number >= 1:
            return int(number)
    raise ConfigError(
        f"`batch_size` must be a whole number of at least 1. Received: batch_size={value!r}. "
        "Use `hp_choice` or `hp_quniform` for it."
    )
