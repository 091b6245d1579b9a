"""What a layer does to the channels of its input: what widening and deepening a network must know of it."""

from __future__ import annotations

from typing import Any

import keras

_LAYERS = keras.layers

_AFFINE = (_LAYERS.Dense, _LAYERS.Conv1D, _LAYERS.Conv2D, _LAYERS.Conv3D)
# What they do concerns training only.
_IDLE = (
    _LAYERS.Dropout,
    _LAYERS.SpatialDropout1D,
    _LAYERS.SpatialDropout2D,
    _LAYERS.SpatialDropout3D,
    _LAYERS.AlphaDropout,
    _LAYERS.GaussianDropout,
    _LAYERS.GaussianNoise,
    _LAYERS.ActivityRegularization,
)
# Each channel by itself, the same for all of them, and never a negative number from others.
_POOLS = (
    _LAYERS.AveragePooling1D,
    _LAYERS.AveragePooling2D,
    _LAYERS.AveragePooling3D,
    _LAYERS.GlobalAveragePooling1D,
    _LAYERS.GlobalAveragePooling2D,
    _LAYERS.GlobalAveragePooling3D,
    _LAYERS.GlobalMaxPooling1D,
    _LAYERS.GlobalMaxPooling2D,
    _LAYERS.GlobalMaxPooling3D,
    _LAYERS.MaxPooling1D,
    _LAYERS.MaxPooling2D,
    _LAYERS.MaxPooling3D,
    _LAYERS.UpSampling1D,
    _LAYERS.UpSampling2D,
    _LAYERS.UpSampling3D,
    _LAYERS.ZeroPadding1D,
    _LAYERS.ZeroPadding2D,
    _LAYERS.ZeroPadding3D,
)
_MERGES = (
    _LAYERS.Add,
    _LAYERS.Average,
    _LAYERS.Concatenate,
    _LAYERS.Maximum,
    _LAYERS.Minimum,
    _LAYERS.Multiply,
)
_CHANNELWISE = frozenset(
    ("elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "leaky_relu", "linear", "mish", "relu", "relu6")
    + ("selu", "sigmoid", "silu", "softplus", "softsign", "tanh")
)
_POSITIVE = frozenset(("exponential", "hard_sigmoid", "relu", "relu6", "sigmoid", "softmax", "softplus"))
_LINEAR_IF_POSITIVE = frozenset(("elu", "leaky_relu", "relu"))


def is_affine(layer: Any) -> bool:
    """Whether it is a dense layer or a convolution over all channels, which are the last axis."""
    return type(layer) in _AFFINE and getattr(layer, "groups", 1) == 1 and _channels_last(layer)


def is_normalisation(layer: Any) -> bool:
    """Whether it is a batch normalisation of the last axis."""
    return type(layer) is _LAYERS.BatchNormalization and layer.axis in (-1, layer.input_spec.ndim - 1)


def is_flatten(layer: Any) -> bool:
    """Whether it makes one axis of all, the channels last."""
    return type(layer) is _LAYERS.Flatten and _channels_last(layer)


def is_channelwise(layer: Any) -> bool:
    """Whether it has no weights and does to each channel the same, whatever the others are."""
    return _activation(layer) in _CHANNELWISE or _keeps_channels(layer)


def has_channelwise_activation(layer: Any) -> bool:
    """Whether an affine layer's activation does to each channel the same, whatever the others are."""
    return _name(layer.activation) in _CHANNELWISE


def can_be_identity(layer: Any, positive: bool) -> bool:
    """Whether its output can be its input, at inference, given suitable weights.

    Args:
        layer: any layer.
        positive: whether its input is never negative.
    """
    if is_affine(layer):
        return _passes(_name(layer.activation), positive) and _is_square(layer)
    return isinstance(layer, _IDLE) or is_normalisation(layer) or _passes(_activation(layer), positive)


def is_positive(layer: Any, positive: bool) -> bool:
    """Whether its output is never negative.

    Args:
        layer: any layer.
        positive: whether its inputs are never negative.
    """
    name = _name(layer.activation) if is_affine(layer) else _activation(layer)
    if name in _POSITIVE:
        return True
    keeps = isinstance(layer, _IDLE + _POOLS + _MERGES + (_LAYERS.Flatten, _LAYERS.Reshape))
    return positive and (keeps or name in _LINEAR_IF_POSITIVE or name == "linear" and not is_affine(layer))


def _passes(name: str, positive: bool) -> bool:
    return name == "linear" or (positive and name in _LINEAR_IF_POSITIVE)


def _is_square(layer: Any) -> bool:
    """Whether as many channels come out as go in, all at their places."""
    if layer.kernel.shape[-1] != layer.kernel.shape[-2]:
        return False
    if type(layer) is _LAYERS.Dense:
        return True
    sizes = layer.kernel.shape[:-2]
    kept = layer.padding == "same" or all(size == 1 for size in sizes)
    centred = all(size % 2 == 1 for size in sizes)
    return bool(kept and centred and all(step == 1 for step in layer.strides))


def _activation(layer: Any) -> str:
    """Name of the function that a layer without weights computes, if it is an activation."""
    if type(layer) is _LAYERS.Activation:
        return _name(layer.activation)
    if type(layer) is _LAYERS.ReLU:
        return _relu(layer)
    names = {_LAYERS.ELU: "elu", _LAYERS.LeakyReLU: "leaky_relu", _LAYERS.Softmax: "softmax"}
    return names.get(type(layer), "")


def _relu(layer: Any) -> str:
    if layer.max_value is None and layer.threshold == 0:
        return "relu" if layer.negative_slope == 0 else "leaky_relu"
    # With an upper bound, or without the smallest ones.
    return "relu6" if layer.negative_slope == 0 and layer.threshold >= 0 else ""


def _name(activation: Any) -> str:
    # A function of somebody's own may have the name of one of Keras'.
    name = str(getattr(activation, "__name__", ""))
    return name if getattr(keras.activations, name, None) is activation else ""


def _keeps_channels(layer: Any) -> bool:
    return isinstance(layer, _IDLE + _POOLS) and _channels_last(layer)


def _channels_last(layer: Any) -> bool:
    return getattr(layer, "data_format", None) in (None, "channels_last")
