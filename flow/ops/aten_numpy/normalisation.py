"""Normalisations; statistics in float64."""
# ruff: noqa: A002, D103 - torch names the arguments and defines the operators

from __future__ import annotations

import numpy as np

from flow.ir import Array
from flow.ops.aten_numpy.table import aten


@aten("layer_norm.default")
def layer_norm(
    input: Array,
    normalized_shape: tuple[int, ...],
    weight: Array | None,
    bias: Array | None,
    eps: float,
    cudnn_enable: bool = True,
) -> Array:
    del cudnn_enable
    return native_layer_norm(input, normalized_shape, weight, bias, eps)[0]


@aten("native_layer_norm.default")
def native_layer_norm(
    input: Array, normalized_shape: tuple[int, ...], weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    axes = tuple(range(-len(normalized_shape), 0))
    x = input.astype(np.float64)
    mean = x.mean(axes, keepdims=True)
    reciprocal = 1 / np.sqrt(x.var(axes, keepdims=True) + eps)
    y = _affine((x - mean) * reciprocal, weight, bias)
    return y.astype(input.dtype), mean.astype(input.dtype), reciprocal.astype(input.dtype)


@aten("rms_norm.default")
def rms_norm(
    input: Array, normalized_shape: tuple[int, ...], weight: Array | None, eps: float | None
) -> Array:
    axes = tuple(range(-len(normalized_shape), 0))
    x = input.astype(np.float64)
    floor = float(np.finfo(input.dtype).eps) if eps is None else eps
    y = x / np.sqrt(np.mean(x * x, axes, keepdims=True) + floor)
    return _affine(y, weight, None).astype(input.dtype)


@aten("batch_norm.default")
def batch_norm(  # noqa: PLR0913, PLR0917 - torch's schema
    input: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array,
    running_var: Array,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Array:
    del momentum, cudnn_enabled
    if training:
        raise ValueError("batch_norm updates its statistics in training mode")
    shape = (-1, *(1,) * (input.ndim - 2))
    y = (input - running_mean.reshape(shape)) / np.sqrt(running_var.reshape(shape).astype(np.float64) + eps)
    scale = None if weight is None else weight.reshape(shape)
    return _affine(y, scale, None if bias is None else bias.reshape(shape)).astype(input.dtype)


def _affine(x: Array, weight: Array | None, bias: Array | None) -> Array:
    scaled = x if weight is None else x * weight
    return scaled if bias is None else scaled + bias
