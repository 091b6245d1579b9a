"""Optimizer, losses and metrics of a candidate: one entry for each output, as plain values."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Literal

import keras

from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space import check_one_number
from cerebro_nas.search_space import check_own
from cerebro_nas.search_space import is_keras_function
from cerebro_nas.search_space import is_of_shapes
from cerebro_nas.search_space import known_part
from cerebro_nas.search_space import tellable_metric
from cerebro_nas.search_space import unknown_part

Family = Literal["categorical", "binary", "logits", "values"]
"""What a loss takes: one-hot vectors; a probability; the same, given as logit; numbers as they are."""

_CATEGORICAL = (
    *("categorical_crossentropy", "CategoricalCrossentropy", "categorical_hinge", "CategoricalHinge"),
    *("categorical_focal_crossentropy", "CategoricalFocalCrossentropy", "kl_divergence", "KLDivergence"),
)
_BINARY = ("binary_crossentropy", "BinaryCrossentropy", "binary_focal_crossentropy", "BinaryFocalCrossentropy")
# What takes positions of classes, and what takes one-hot vectors and gives the same numbers.
_TWIN_LOSSES = {
    "sparse_categorical_crossentropy": "CategoricalCrossentropy",
    "SparseCategoricalCrossentropy": "CategoricalCrossentropy",
}
_TWIN_METRICS = {
    "sparse_categorical_accuracy": "CategoricalAccuracy",
    "SparseCategoricalAccuracy": "CategoricalAccuracy",
    "sparse_categorical_crossentropy": "CategoricalCrossentropy",
    "SparseCategoricalCrossentropy": "CategoricalCrossentropy",
    "sparse_top_k_categorical_accuracy": "TopKCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy": "TopKCategoricalAccuracy",
}
_KEPT = ("name", "dtype", "from_logits", "reduction", "axis", "k")


@dataclass(frozen=True)
class LossPart:
    """The loss of one output.

    Attributes:
        serialised: a name, or what `keras.losses.serialize` gave.
        family: what targets it takes.
    """

    serialised: Any
    family: Family


def optimizer_part(given: Any) -> dict[str, Any]:
    """The optimizer as plain values.

    Raises:
        ConfigError: Keras has none of this name, or it is no optimizer.
    """
    try:
        found: dict[str, Any] = keras.optimizers.serialize(keras.optimizers.get(given))
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"`optimizer` must be a Keras optimizer or its name. Received: optimizer={given!r} ({_brief(error)}). "
            "Pass for example `keras.optimizers.Adam(learning_rate=0.001)`."
        ) from error
    return found


def loss_parts(given: Any, outputs: Sequence[str]) -> tuple[LossPart, ...]:
    """The loss of each output; a single one is that of all.

    Raises:
        ConfigError: there are more or fewer than outputs, or Keras has no such loss.
    """
    if isinstance(given, (list, tuple, Mapping)):
        items = _per_output("loss", given, outputs)
    else:
        items = [given] * len(outputs)
    return tuple(_loss(item) for item in items)


def loss_weights(given: Any, outputs: Sequence[str]) -> tuple[float, ...]:
    """What the loss of each output counts for in the sum; those that a dict does not name count for 1.

    Returns:
        A number for each output, or nothing where each counts for 1.

    Raises:
        ConfigError: they are no numbers, or of other outputs.
    """
    if isinstance(given, Mapping):
        odd = [name for name in given if name not in outputs]
        values = [given.get(name, 1.0) for name in outputs]
    else:
        values = [1.0] * len(outputs) if given is None else list(given) if _is_list(given) else [given]
        odd = [] if len(values) == len(outputs) else values
    if odd or not all(_is_weight(value) for value in values):
        raise ConfigError(
            f"`loss_weights` must be numbers of at least 0, one for each of the {len(outputs)} outputs: a list, or a "
            f"dict by name ({', '.join(outputs)}). Received: loss_weights={given!r}. Pass such numbers, or None."
        )
    return () if all(value == 1 for value in values) else tuple(float(value) for value in values)


def _is_weight(value: Any) -> bool:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return number and math.isfinite(value) and value >= 0


def metric_parts(given: Any, outputs: Sequence[str]) -> tuple[tuple[Any, ...], ...]:
    """The metrics of each output.

    Raises:
        ConfigError: it is not clear which output they are of, or Keras has no such metric.
    """
    if not given:
        return ((),) * len(outputs)
    if isinstance(given, Mapping) or (len(outputs) > 1 and _is_list(given) and all(map(_is_list, given))):
        groups = _per_output("metrics", given, outputs)
    elif len(outputs) == 1:
        groups = list(given) if _is_list(given) and all(map(_is_list, given)) else [given]
    else:
        raise ConfigError(
            f"`metrics` must say which output each metric is of, as the model has {len(outputs)}: a dict by name "
            f"({', '.join(outputs)}), or a list of lists. Received: metrics={given!r}. Pass one of the two."
        )
    return tuple(tuple(_metric(item) for item in (group if _is_list(group) else [group])) for group in groups)


def _per_output(argument: str, given: Any, outputs: Sequence[str]) -> list[Any]:
    if isinstance(given, Mapping):
        # Keras takes an output without metrics, and none without a loss.
        missing = [name for name in outputs if name not in given and argument == "loss"]
        if missing or any(name not in outputs for name in given):
            raise ConfigError(
                f"`{argument}` must be a dict with the names of the outputs: {', '.join(outputs)}. "
                f"Received: {argument}={given!r}. Use these names."
            )
        return [given.get(name, []) for name in outputs]
    if len(given) != len(outputs) or (argument == "loss" and None in given):
        raise ConfigError(
            f"`{argument}` must have one entry for each of the {len(outputs)} outputs ({', '.join(outputs)}). "
            f"Received: {argument}={given!r}. Pass as many."
        )
    return list(given)


def _loss(given: Any) -> LossPart:
    if isinstance(given, dict):
        raise unknown_part("loss", given)
    found = known_part("loss", given)
    name = _name(found)
    config = found.get_config() if isinstance(found, keras.losses.Loss) else {}
    if name in _TWIN_LOSSES:
        if config.get("ignore_class") is not None:
            raise ConfigError(
                "`loss` must count every class: rows are one label each. "
                f"Received: ignore_class={config['ignore_class']!r}. Filter those rows out of the DataFrame."
            )
        twin = getattr(keras.losses, _TWIN_LOSSES[name])(**_kept(config))
        return LossPart(keras.losses.serialize(twin), "categorical")
    family: Family = "values"
    if name in _CATEGORICAL:
        family = "categorical"
    elif name in _BINARY:
        family = "logits" if config.get("from_logits") else "binary"
    return LossPart(_plain("loss", given, found, keras.losses.serialize), family)


def _metric(given: Any) -> Any:
    if is_of_shapes("metrics", given):
        return given
    if isinstance(given, dict):
        raise unknown_part("metrics", given)
    found = tellable_metric(known_part("metrics", given))
    check_one_number("metrics", found)
    name = _name(found)
    if name in _TWIN_METRICS:
        config = found.get_config() if isinstance(found, keras.metrics.Metric) else {}
        # Under its own name, which the objective and the histories use.
        logged = given if isinstance(given, str) else config.get("name", name)
        return keras.metrics.serialize(getattr(keras.metrics, _TWIN_METRICS[name])(**{**_kept(config), "name": logged}))
    return _plain("metrics", given, found, keras.metrics.serialize)


def _plain(argument: str, given: Any, found: Any, serialise: Callable[[Any], Any]) -> Any:
    if isinstance(given, str):
        return given
    check_own(argument, found)
    return str(found.__name__) if is_keras_function(found) else serialise(found)


def _kept(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: config[name] for name in _KEPT if name in config}


def _name(item: Any) -> str:
    return str(getattr(item, "__name__", type(item).__name__))


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _brief(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200]
