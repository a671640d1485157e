"""Products: linear layers, matrix products, convolutions, attention."""
# ruff: noqa: A002, D103 - torch names the arguments and defines the operators

from __future__ import annotations

import math

import numpy as np

from flow.ir import Array
from flow.ops.aten_numpy.table import Scalar, aten


@aten("linear.default")
def linear(input: Array, weight: Array, bias: Array | None) -> Array:
    y = input @ weight.T
    return np.asarray(y if bias is None else y + bias)


@aten("matmul.default", "mm.default", "bmm.default", "mv.default", "dot.default")
def matmul(input: Array, **operand: Array) -> Array:
    (other,) = operand.values()  # other, mat2, vec or tensor
    return np.asarray(input @ other)


@aten("addmm.default")
def addmm(input: Array, mat1: Array, mat2: Array, beta: Scalar, alpha: Scalar) -> Array:
    return _scaled_sum(input, mat1 @ mat2, beta, alpha)


@aten("baddbmm.default")
def baddbmm(input: Array, batch1: Array, batch2: Array, beta: Scalar, alpha: Scalar) -> Array:
    return _scaled_sum(input, batch1 @ batch2, beta, alpha)


def _scaled_sum(input: Array, product: Array, beta: Scalar, alpha: Scalar) -> Array:
    scaled = product * product.dtype.type(alpha)
    # With beta = 0 torch ignores the input, NaN and infinity included.
    return np.asarray(scaled if beta == 0 else input * product.dtype.type(beta) + scaled)


@aten("outer.default")
def outer(input: Array, vec2: Array) -> Array:
    return np.outer(input, vec2)


@aten("einsum.default")
def einsum(equation: str, tensors: tuple[Array, ...], path: tuple[int, ...] | None = None) -> Array:
    del path
    return np.asarray(np.einsum(equation.replace(" ", ""), *tensors, optimize=True))


@aten("conv1d.default", "conv2d.default", "conv1d.padding", "conv2d.padding")
def convolution(
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: tuple[int, ...],
    padding: str | tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Array:
    """y[n, o, p] = sum_{c, k} x[n, c, p*stride + k*dilation - padding] * w[o, c, k], by groups of channels."""
    axes = weight.ndim - 2
    batched = input if input.ndim == weight.ndim else input[None]
    stride, dilation = _spread(stride, axes), _spread(dilation, axes)
    reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    x = np.pad(batched, [(0, 0), (0, 0), *_margins(padding, reach)])
    windows = np.lib.stride_tricks.sliding_window_view(x, [r + 1 for r in reach], tuple(range(2, 2 + axes)))
    steps = tuple(slice(None, None, s) for s in stride)
    taps = tuple(slice(None, None, d) for d in dilation)
    windows = windows[(slice(None), slice(None), *steps, *taps)]
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    spatial = tuple(range(2, 2 + axes))
    parts = []
    for g in range(groups):
        part = windows[:, g * inputs : (g + 1) * inputs]
        kernel = weight[g * outputs : (g + 1) * outputs]
        y = np.tensordot(part, kernel, ((1, *(a + axes for a in spatial)), (1, *spatial)))
        parts.append(np.moveaxis(y, -1, 1))
    y = np.concatenate(parts, axis=1)
    if bias is not None:
        y = y + bias.reshape(-1, *(1,) * axes)
    return y if input.ndim == weight.ndim else y[0]


def _spread(value: tuple[int, ...], axes: int) -> tuple[int, ...]:
    return value * axes if len(value) == 1 else value


def _margins(padding: str | tuple[int, ...], reach: list[int]) -> list[tuple[int, int]]:
    if padding == "valid":
        return [(0, 0)] * len(reach)
    if isinstance(padding, str):
        return [(r // 2, r - r // 2) for r in reach]
    return [(p, p) for p in _spread(padding, len(reach))]


@aten("scaled_dot_product_attention.default")
def scaled_dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> Array:
    """softmax(q k^T * scale + mask) v over the last two axes; a query that sees no key gives zeros."""
    if dropout_p:
        raise ValueError("scaled_dot_product_attention draws random numbers in training mode")
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = np.repeat(key, repeats, axis=-3), np.repeat(value, repeats, axis=-3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query @ key.swapaxes(-1, -2)) * query.dtype.type(factor)
    if is_causal:
        scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf).astype(scores.dtype)
    if attn_mask is not None:
        mask = np.where(attn_mask, 0, -np.inf) if attn_mask.dtype == np.bool_ else attn_mask
        scores = scores + mask.astype(scores.dtype)
    top = scores.max(-1, keepdims=True)
    e = np.exp(scores - np.where(np.isneginf(top), 0, top).astype(scores.dtype))
    z = e.sum(-1, keepdims=True)
    return np.asarray((e / np.where(z == 0, 1, z).astype(z.dtype)) @ value)
