"""Floating point operations: by hand for each kind of layer, published figures for known models, TensorFlow's count."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import pytest
from keras import layers

from cerebro_nas.search_space._flops import count_flops


def _one(layer: Any, *shapes: tuple[int, ...]) -> int:
    """Operations of a model of this layer alone."""
    inputs = [keras.Input(shape) for shape in shapes]
    return count_flops(keras.Model(inputs, layer(inputs[0] if len(inputs) == 1 else inputs)))


@pytest.mark.parametrize(
    ("make", "shape", "expected"),
    [
        (lambda: layers.Dense(5), (3,), 2 * 15 + 5),
        (lambda: layers.Dense(5, use_bias=False), (3,), 30),
        (lambda: layers.Dense(5, activation="relu"), (3,), 30 + 5 + 5),
        (lambda: layers.Dense(5, use_bias=False), (7, 3), 7 * 30),
        (lambda: layers.EinsumDense("abc,cd->abd", (None, 5)), (7, 3), 7 * 30),
        (lambda: layers.EinsumDense("...c,cd->...d", 5, bias_axes="d"), (3,), 35),
        (lambda: layers.EinsumDense("...c,cd->...d", 5), (7, 3), 7 * 30),
        (lambda: layers.Conv1D(4, 3, use_bias=False), (10, 2), 2 * 3 * 2 * 4 * 8),
        (lambda: layers.Conv2D(4, 3, padding="same", use_bias=False), (6, 6, 3), 2 * 27 * 4 * 36),
        (lambda: layers.Conv2D(4, 3, strides=2, activation="relu"), (7, 7, 3), (2 * 27 + 2) * 4 * 9),
        (lambda: layers.Conv2D(4, 3, groups=2, use_bias=False), (5, 5, 6), 2 * 27 * 4 * 9),
        (lambda: layers.Conv3D(2, 3, use_bias=False), (4, 4, 4, 3), 2 * 81 * 2 * 8),
        (lambda: layers.Conv2DTranspose(4, 2, strides=2, use_bias=False), (3, 3, 5), 2 * 4 * 4 * 45),
        (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False), (5, 5, 4), 2 * 9 * 9 * 8),
        (lambda: layers.SeparableConv2D(8, 3, use_bias=False), (5, 5, 4), 2 * 9 * (9 * 4 + 4 * 8)),
        (lambda: layers.SeparableConv1D(8, 3, depth_multiplier=2), (5, 4), 2 * 3 * (3 * 8 + 8 * 8) + 24),
        (lambda: layers.BatchNormalization(), (5, 4), 40),
        (lambda: layers.LayerNormalization(), (5, 4), 7 * 20),
        (lambda: layers.Normalization(mean=0, variance=1), (5,), 10),
        (lambda: layers.Rescaling(2.0), (5,), 10),
        (lambda: layers.ReLU(), (5, 4), 20),
        (lambda: layers.Softmax(), (5,), 5),
        (lambda: layers.Activation("linear"), (5,), 0),
        (lambda: layers.Activation("tanh"), (5,), 5),
        (lambda: layers.MaxPooling2D(2), (4, 4, 3), 4 * 12),
        (lambda: layers.AveragePooling1D(2), (4, 3), 2 * 6),
        (lambda: layers.GlobalAveragePooling2D(), (4, 4, 3), 48),
        (lambda: layers.GlobalMaxPooling1D(), (4, 3), 12),
        (lambda: layers.SimpleRNN(5), (7, 3), 7 * (5 * (6 + 10 + 1) + 5)),
        (lambda: layers.LSTM(5), (7, 3), 7 * (4 * 5 * (6 + 10 + 1) + 45)),
        (lambda: layers.LSTM(5, return_sequences=True), (7, 3), 7 * (4 * 5 * (6 + 10 + 1) + 45)),
        (lambda: layers.GRU(5), (7, 3), 7 * (3 * 5 * (6 + 10 + 1) + 40)),
        (lambda: layers.Bidirectional(layers.LSTM(5)), (7, 3), 2 * 7 * (4 * 5 * 17 + 45)),
        (lambda: layers.Bidirectional(layers.LSTM(5), merge_mode="sum"), (7, 3), 2 * 7 * (4 * 5 * 17 + 45) + 5),
        (lambda: layers.TimeDistributed(layers.Dense(5)), (7, 3), 7 * 35),
        (lambda: layers.Embedding(100, 8), (7,), 0),
        (lambda: layers.Dropout(0.5), (7,), 0),
        (lambda: layers.Flatten(), (7, 2), 0),
        (lambda: layers.RandomFlip(), (4, 4, 3), 0),
        (lambda: layers.RandomTranslation(0.1, 0.1), (4, 4, 3), 0),
        (lambda: layers.ZeroPadding2D(1), (4, 4, 3), 0),
        (lambda: layers.Resizing(8, 8), (4, 4, 3), 8 * 192),
        (lambda: layers.Resizing(8, 8, interpolation="nearest"), (4, 4, 3), 0),
        (lambda: layers.Resizing(4, 4), (4, 4, 3), 0),
        (lambda: keras.ops.expand_dims, (4, 3), 0),
        (lambda: lambda x: keras.ops.mean(x, axis=-1), (4, 3), 12),
        (lambda: lambda x: x * 2.0, (4, 3), 12),
        (lambda: lambda x: keras.ops.matmul(x, keras.ops.transpose(x, (0, 2, 1))), (4, 3), 2 * 3 * 16),
    ],
)
def test_layers(make: Callable[[], Any], shape: tuple[int, ...], expected: int) -> None:
    layer = make()
    assert _one((lambda x: layer(x, -1)) if layer is keras.ops.expand_dims else layer, shape) == expected


@pytest.mark.parametrize(
    ("layer", "number", "expected"), [(layers.Add, 3, 24), (layers.Multiply, 2, 12), (layers.Concatenate, 3, 0)]
)
def test_layers_of_several_inputs(layer: Any, number: int, expected: int) -> None:
    assert _one(layer(), *[(4, 3)] * number) == expected


def test_attention_is_the_sum_of_its_products() -> None:
    found = _one(lambda both: layers.MultiHeadAttention(2, 4, use_bias=False)(*both), (5, 8), (7, 8))
    heads, key, width = 2, 4, 8
    projections = 2 * width * heads * key * (5 + 7 + 7 + 5)
    scores = heads * 5 * 7
    assert found == projections + scores * (2 * key + 1 + 2 * key) + heads * 5 * key


def test_an_unknown_layer_counts_its_output() -> None:
    class Own(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return keras.ops.tile(x, (1, 2))

    assert _one(Own(), (6,)) == 12


def test_a_layer_derived_from_a_known_one_is_known() -> None:
    class Own(layers.Dense):  # type: ignore[misc]
        pass

    assert _one(Own(5), (3,)) == 35


def test_shared_layers_count_each_time_and_nested_models_count_whole() -> None:
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(3)])
    x = keras.Input((3,))
    assert count_flops(inner) == 21
    assert count_flops(keras.Model(x, inner(inner(x)))) == 42
    assert count_flops(keras.Sequential([keras.Input((3,)), inner, layers.Dense(2)])) == 21 + 14
    dense = layers.Dense(3)
    assert count_flops(keras.Model(x, dense(dense(x)))) == 42


def test_a_nested_model_of_any_size_counts_at_the_size_it_is_used_at() -> None:
    def conv(shape: tuple[int | None, ...]) -> Any:
        x = keras.Input(shape)
        y = layers.Conv2D(4, 3, padding="same")(x)
        return keras.Model(x, layers.Add()([layers.BatchNormalization()(y), y]))

    x = keras.Input((8, 8, 3))
    fixed, free = conv((8, 8, 3)), conv((None, None, 3))
    assert count_flops(keras.Model(x, free(x))) == count_flops(fixed) == 64 * 4 * (2 * 27 + 1 + 2 + 1)


# With 2 for a multiplication and an addition; Keras' table and the papers count them as 1.
@pytest.mark.parametrize(
    ("name", "size", "published"),
    [
        ("ResNet50", 224, 7.75e9),
        ("ResNet152", 224, 22.6e9),
        ("MobileNet", 224, 1.138e9),
        ("EfficientNetB0", 224, 0.78e9),
        ("Xception", 299, 16.8e9),
    ],
)
@pytest.mark.slow
def test_known_models(name: str, size: int, published: float) -> None:
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
    assert count_flops(model) == pytest.approx(published, rel=0.05)


@pytest.mark.slow
def test_a_large_model_is_counted_fast() -> None:
    x = keras.Input((224, 224, 3))
    model = keras.Model(x, keras.applications.ResNet50(weights=None, include_top=False, input_shape=(224, 224, 3))(x))
    took = []
    for _ in range(5):
        begun = time.thread_time()
        count_flops(model)
        took.append(time.thread_time() - begun)
    assert min(took) < 0.02


def _profiled(model: Any) -> int:
    """What TensorFlow's profiler counts in the frozen graph of one forward pass."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2_as_graph

    specs = [tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs]
    concrete = tf.function(lambda *x: model(list(x) if len(x) > 1 else x[0], training=False)).get_concrete_function(
        *specs
    )
    _, graph_def = convert_variables_to_constants_v2_as_graph(concrete)
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(graph_def, name="")
        builder = tf.compat.v1.profiler.ProfileOptionBuilder
        options = builder(builder.float_operation()).with_empty_output().build()
        profile = tf.compat.v1.profiler.profile(graph=graph, run_meta=tf.compat.v1.RunMetadata(), options=options)
    return int(profile.total_float_ops)


def _dense_net() -> Any:
    x = keras.Input((64,))
    y = layers.Dense(128, activation="relu")(x)
    y = layers.Dropout(0.5)(layers.Dense(256, activation="relu")(y))
    return keras.Model(x, layers.Dense(10, activation="softmax")(y))


def _convolutions() -> Any:
    x = keras.Input((32, 32, 3))
    y = layers.MaxPooling2D()(layers.Conv2D(32, 3, activation="relu")(x))
    y = layers.SeparableConv2D(64, 3, padding="same", activation="relu")(y)
    y = layers.Conv2D(64, 3, strides=2, padding="same")(layers.BatchNormalization()(y))
    return keras.Model(x, layers.Dense(10)(layers.GlobalAveragePooling2D()(layers.Add()([y, y]))))


def _over_time() -> Any:
    x = keras.Input((24, 8))
    # No attention and no LSTM: the profiler counts neither `Einsum` nor what is inside a loop.
    y = layers.MaxPooling1D(2)(layers.Conv1D(32, 5, activation="relu")(x))
    return keras.Model(x, layers.Dense(1)(layers.Flatten()(layers.Dense(64, activation="relu")(y))))


def _voxels() -> Any:
    x = keras.Input((12, 12, 12, 2))
    return keras.Model(x, layers.Conv3D(8, 3)(layers.Conv3D(16, 3, activation="relu")(x)))


def _mobile() -> Any:
    return keras.applications.MobileNet(weights=None, input_shape=(96, 96, 3), alpha=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("make", [_dense_net, _convolutions, _over_time, _voxels, _mobile])
def test_tensorflow_counts_the_same(make: Callable[[], Any]) -> None:
    model = make()
    assert count_flops(model) == pytest.approx(_profiled(model), rel=0.05)
