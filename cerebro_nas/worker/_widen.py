"""Weights of a wider or deeper network that computes what a smaller one did.

Net2Net (Chen, Goodfellow and Shlens 2016). Replicas of a unit get unequal parts of what it gave to the next layer,
where the paper has equal ones and adds noise: that keeps the function exactly, and still no two learn the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cerebro_nas.worker._safetensors import raw_bytes

_Array = NDArray[Any]


@dataclass(frozen=True)
class Spread:
    """How the channels of a wider layer come from those of a narrower one.

    Attributes:
        origin: for each channel, the one that it is a replica of.
        part: its part of what that one gave to the next layer.
        width: channels of the narrower layer.
    """

    origin: NDArray[np.intp]
    part: NDArray[np.float64]
    width: int

    def over(self, size: int) -> Spread:
        """The same for channels that are there once for every place: `size` in all, channels last."""
        places = size // len(self.origin)
        origin = (np.arange(places)[:, None] * self.width + self.origin).reshape(-1)
        return Spread(origin, np.tile(self.part, places), self.width * places)


def draw_spread(before: int, kernel: Any) -> Spread:
    """Which channels get replicas: drawn from the initial weights, which the candidate's seed gave."""
    after = int(kernel.shape[-1])
    generator = np.random.default_rng(zlib.crc32(raw_bytes(kernel.numpy())))
    origin = np.concatenate([np.arange(before), generator.integers(0, before, after - before)])
    weights = generator.uniform(0.5, 1.5, after)
    return Spread(origin, weights / np.bincount(origin, weights)[origin], before)


def widen_affine(
    variables: Sequence[Any], arrays: Sequence[_Array], entering: Spread | None, leaving: Spread | None
) -> None:
    """Set the kernel, and the bias if there is one, of a dense layer or a convolution.

    Args:
        variables: the layer's.
        arrays: those of the narrower layer.
        entering: how the channels that go in have spread.
        leaving: how those that come out are to spread.
    """
    kernel = arrays[0].astype(np.float64)
    if entering is not None:
        spread = entering.over(int(variables[0].shape[-2]))
        kernel = kernel[..., spread.origin, :] * spread.part[:, None]
    kernel = kernel if leaving is None else kernel[..., leaving.origin]
    variables[0].assign(kernel)
    for variable, array in zip(variables[1:], arrays[1:], strict=True):
        variable.assign(array if leaving is None else array[leaving.origin])


def widen_normalisation(variables: Sequence[Any], arrays: Sequence[_Array], entering: Spread) -> None:
    """Set the weights and statistics of a batch normalisation."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array[entering.over(int(variable.shape[0])).origin])


def make_identity(layer: Any) -> None:
    """Have a dense layer, a convolution or (at inference) a batch normalisation pass on what it gets."""
    if isinstance(layer, keras.layers.BatchNormalization):
        _normalise_nothing(layer)
        return
    kernel = np.zeros(layer.kernel.shape)
    kernel[tuple(size // 2 for size in kernel.shape[:-2])] = np.eye(kernel.shape[-1])
    layer.kernel.assign(kernel)
    if layer.bias is not None:
        layer.bias.assign(np.zeros(layer.bias.shape))


def _normalise_nothing(layer: Any) -> None:
    ones = np.ones(layer.moving_variance.shape)
    layer.moving_mean.assign(0 * ones)
    layer.moving_variance.assign(ones if layer.scale else (1 - layer.epsilon) * ones)
    if layer.scale:
        layer.gamma.assign(np.sqrt(1 + layer.epsilon) * ones)
    if layer.center:
        layer.beta.assign(0 * ones)
