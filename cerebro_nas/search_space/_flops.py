"""Floating point operations of a model, from the shapes and settings of its layers; nothing is run or traced."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import keras
from keras import layers

Shape = tuple[int, ...]
# A layer, the shapes of its inputs and of its output (one row each) -> operations.
Rule = Callable[[Any, list[Shape], Shape], int]

# Multiplications and additions of reading one value between its neighbours, 2 for each neighbour.
_INTERPOLATION = {"nearest": 0, "bilinear": 8, "bicubic": 32, "lanczos3": 72, "lanczos5": 200}
# Arithmetic of a cell on top of its matrix products, for each unit: activations, gates, the new state.
_LSTM_ELEMENTWISE = 9
_GRU_ELEMENTWISE = 8


def count_flops(model: keras.Model) -> int:
    """Floating point operations of one forward pass for one row.

    Counted as is usual: a multiplication with an addition as 2, an addition, a comparison or an activation as 1 for
    each element. What only trains (dropout, augmentation) or only moves values (reshaping, look-ups) counts nothing; a
    layer that is not known counts 1 for each element of its output. Dimensions of a row that are not fixed count as 1.

    Args:
        model: a built Functional or Sequential model; those inside it are counted with it, layers that are used twice
            are counted twice.
    """
    return _count_model(model, [_row(tensor) for tensor in model.inputs])


def _count_model(model: Any, given: list[Shape]) -> int:
    function = getattr(model, "_functional", None) or model
    if [_row(tensor) for tensor in function.inputs] == given:
        return sum(_count(node.operation, inputs, output) for node, inputs, output in _calls(function))
    return _count_reshaped(function, given)


def _nodes(function: Any) -> Iterator[Any]:
    by_depth = function._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        yield from (node for node in by_depth[depth] if not node.is_input)


def _calls(function: Any) -> Iterator[tuple[Any, list[Shape], Shape]]:
    for node in _nodes(function):
        yield node, [_row(tensor) for tensor in node.input_tensors], _row(node.output_tensors[0])


def _count_reshaped(function: Any, given: list[Shape]) -> int:
    """Count a model that is used on other shapes than it was made for: work out the shapes inside it anew."""
    total = 0
    tensors = {
        id(tensor): keras.KerasTensor((None, *shape), dtype=tensor.dtype)
        for tensor, shape in zip(function.inputs, given, strict=True)
    }
    for node in _nodes(function):
        arguments, options = node.arguments.fill_in(tensors)
        outputs = keras.tree.flatten(node.operation.compute_output_spec(*arguments, **options))
        tensors.update((id(old), new) for old, new in zip(node.outputs, outputs, strict=True))
        inputs = [_row(tensors[id(tensor)]) for tensor in node.input_tensors]
        total += _count(node.operation, inputs, _row(outputs[0]))
    return total


def _count(operation: Any, inputs: list[Shape], output: Shape) -> int:
    """Operations of one call of a layer, a model, or a function of `keras.ops`."""
    rule = next(_RULES[kind] for kind in type(operation).__mro__ if kind in _RULES)
    return rule(operation, inputs, output)


def _row(tensor: Any) -> Shape:
    return tuple(size or 1 for size in tensor.shape[1:])


def _size(shape: Iterable[int]) -> int:
    return math.prod(shape)


# --- layers with weights ----------------------------------------------------------------------------------------------


def _affine(layer: Any, output: Shape) -> int:
    """The bias and the activation that many layers have."""
    activation = getattr(layer, "activation", None)
    active = activation not in (None, keras.activations.linear)
    return _size(output) * (bool(layer.use_bias) + active)


def _dense(layer: Any, inputs: list[Shape], output: Shape) -> int:
    return 2 * inputs[0][-1] * _size(output) + _affine(layer, output)


def _einsum_dense(layer: Any, inputs: list[Shape], output: Shape) -> int:
    # Each weight is used once for every position of the axes that the kernel does not have.
    left, right = layer.equation.replace("...", "").split("->")
    row, kernel = left.split(",")
    axes = zip_longest(reversed(row), reversed(inputs[0]))
    positions = _size(size or 1 for axis, size in axes if axis is None or axis not in kernel)
    bias = _size(output) * int(layer.bias is not None)
    active = _size(output) * int(layer.activation not in (None, keras.activations.linear))
    return 2 * _size(layer.kernel.shape) * positions + bias + active


def _conv(layer: Any, inputs: list[Shape], output: Shape) -> int:
    channels = _channels(layer, inputs[0]) // int(layer.groups)
    return 2 * _size(layer.kernel_size) * channels * _size(output) + _affine(layer, output)


def _conv_transpose(layer: Any, inputs: list[Shape], output: Shape) -> int:
    # Every value of the input meets the whole kernel of every filter.
    return 2 * _size(layer.kernel_size) * int(layer.filters) * _size(inputs[0]) + _affine(layer, output)


def _depthwise(layer: Any, inputs: list[Shape], output: Shape) -> int:
    return 2 * _size(layer.kernel_size) * _size(output) + _affine(layer, output)


def _separable(layer: Any, inputs: list[Shape], output: Shape) -> int:
    between, filters = _channels(layer, inputs[0]) * int(layer.depth_multiplier), int(layer.filters)
    positions = _size(output) // filters
    return 2 * positions * between * (_size(layer.kernel_size) + filters) + _affine(layer, output)


def _channels(layer: Any, shape: Shape) -> int:
    return shape[-1] if layer.data_format == "channels_last" else shape[0]


def _batch_norm(layer: Any, inputs: list[Shape], output: Shape) -> int:
    # When nothing is trained, mean, variance, scale and centre come to one multiplication and one addition.
    return 2 * _size(output)


def _layer_norm(layer: Any, inputs: list[Shape], output: Shape) -> int:
    # The mean: 1; the variance: 3; multiplying by its root: 1; scale and centre.
    return _size(output) * (5 + bool(getattr(layer, "scale", True)) + bool(getattr(layer, "center", False)))


# --- layers over time -------------------------------------------------------------------------------------------------


def _simple_rnn(layer: Any, inputs: list[Shape], output: Shape) -> int:
    return _recurrent(layer, inputs[0], gates=1, elementwise=1)


def _lstm(layer: Any, inputs: list[Shape], output: Shape) -> int:
    return _recurrent(layer, inputs[0], gates=4, elementwise=_LSTM_ELEMENTWISE)


def _gru(layer: Any, inputs: list[Shape], output: Shape) -> int:
    return _recurrent(layer, inputs[0], gates=3, elementwise=_GRU_ELEMENTWISE)


def _recurrent(layer: Any, shape: Shape, gates: int, elementwise: int) -> int:
    steps, features, units = shape[0], shape[-1], int(layer.units)
    bias = bool(layer.use_bias)
    # A gate: two products, their sum, and the bias.
    gate = units * (2 * features + 2 * units + bias)
    return steps * (gates * gate + elementwise * units)


def _bidirectional(layer: Any, inputs: list[Shape], output: Shape) -> int:
    both = sum(_count(part, inputs, output) for part in (layer.forward_layer, layer.backward_layer))
    return both + (0 if layer.merge_mode in (None, "concat") else _size(output))


def _time_distributed(layer: Any, inputs: list[Shape], output: Shape) -> int:
    return inputs[0][0] * _count(layer.layer, [shape[1:] for shape in inputs], output[1:])


def _attention(layer: Any, inputs: list[Shape], output: Shape) -> int:
    """Multi-head attention: projections of query, key and value, scores, their softmax, the sum, the projection."""
    query, value = inputs[0], inputs[1]
    key = inputs[2] if len(inputs) > 2 else value
    heads, key_dim, value_dim = int(layer.num_heads), int(layer.key_dim), int(layer.value_dim)
    asked, held = _size(query[:-1]), _size(value[:-1])
    biased = bool(layer.use_bias)
    projections = heads * (
        asked * key_dim * (2 * query[-1] + biased)
        + held * key_dim * (2 * key[-1] + biased)
        + held * value_dim * (2 * value[-1] + biased)
    )
    scores = heads * asked * held
    return (
        projections
        + scores * (2 * key_dim + 1 + 2 * value_dim)
        + heads * asked * key_dim  # the query is scaled
        + asked * output[-1] * (2 * heads * value_dim + biased)
    )


# --- layers without weights -------------------------------------------------------------------------------------------


def _nothing(layer: Any, inputs: list[Shape], output: Shape) -> int:
    return 0


def _elements(layer: Any, inputs: list[Shape], output: Shape) -> int:
    return _size(output)


def _twice(layer: Any, inputs: list[Shape], output: Shape) -> int:
    return 2 * _size(output)


def _activation(layer: Any, inputs: list[Shape], output: Shape) -> int:
    return 0 if layer.activation is keras.activations.linear else _size(output)


def _pool(layer: Any, inputs: list[Shape], output: Shape) -> int:
    return _size(layer.pool_size) * _size(output)


def _reads_all(layer: Any, inputs: list[Shape], output: Shape) -> int:
    return _size(inputs[0])


def _merge(layer: Any, inputs: list[Shape], output: Shape) -> int:
    return (len(inputs) - 1) * _size(output)


def _resize(layer: Any, inputs: list[Shape], output: Shape) -> int:
    return 0 if inputs[0] == output else _INTERPOLATION.get(layer.interpolation, 1) * _size(output)


def _product(operation: Any, inputs: list[Shape], output: Shape) -> int:
    return 2 * inputs[0][-1] * _size(output)


def _model(model: Any, inputs: list[Shape], output: Shape) -> int:
    return _count_model(model, inputs)


def _function(operation: Any, inputs: list[Shape], output: Shape) -> int:
    """A function of `keras.ops` as a node of its own."""
    name = type(operation).__name__
    if name in _MOVES:
        return 0
    if name in ("Matmul", "Dot"):
        return _product(operation, inputs, output)
    # Reductions read more than they write.
    return max([_size(output), *map(_size, inputs)])


_MOVES = {"BroadcastTo", "Cast", "Concatenate", "Copy", "ExpandDims", "Flip", "GetItem", "Identity", "Moveaxis", "Pad"}
_MOVES |= {"Ravel", "Repeat", "Reshape", "Roll", "Split", "Squeeze", "Stack", "Swapaxes", "Take", "Tile", "Transpose"}

_RULES: dict[type, Rule] = {keras.Operation: _function, keras.Model: _model}

# What only trains, or only moves values. `Random...` is augmentation, which does nothing outside training.
_NOTHING = """ActivityRegularization AlphaDropout AugMix CategoryEncoding CenterCrop Concatenate Cropping1D Cropping2D
    Cropping3D CutMix Discretization Dropout Embedding Flatten GaussianDropout GaussianNoise HashedCrossing Hashing
    Identity InputLayer IntegerLookup Masking MixUp Permute RandAugment RepeatVector Reshape SpatialDropout1D
    SpatialDropout2D SpatialDropout3D StringLookup TextVectorization ZeroPadding1D ZeroPadding2D ZeroPadding3D"""
_BY_NAME: dict[Rule, str] = {
    _nothing: " ".join([_NOTHING, *(name for name in dir(layers) if name.startswith("Random"))]),
    _elements: "Layer",
    _dense: "Dense",
    _einsum_dense: "EinsumDense",
    _conv: "Conv1D Conv2D Conv3D",
    _conv_transpose: "Conv1DTranspose Conv2DTranspose Conv3DTranspose",
    _depthwise: "DepthwiseConv1D DepthwiseConv2D",
    _separable: "SeparableConv1D SeparableConv2D",
    _batch_norm: "BatchNormalization",
    _layer_norm: "LayerNormalization GroupNormalization RMSNormalization",
    _simple_rnn: "SimpleRNN",
    _lstm: "LSTM",
    _gru: "GRU",
    _bidirectional: "Bidirectional",
    _time_distributed: "TimeDistributed",
    _attention: "MultiHeadAttention",
    _twice: "Normalization Rescaling",
    _activation: "Activation",
    _pool: "AveragePooling1D AveragePooling2D AveragePooling3D MaxPooling1D MaxPooling2D MaxPooling3D",
    _reads_all: "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D "
    "GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D",
    _merge: "Add Average Maximum Minimum Multiply Subtract",
    _resize: "Resizing UpSampling2D",
}
_RULES |= {getattr(layers, name): rule for rule, names in _BY_NAME.items() for name in names.split()}
