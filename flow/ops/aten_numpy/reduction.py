"""Reductions and scans."""
# ruff: noqa: A002, D103 - torch names the arguments and defines the operators

from __future__ import annotations

from typing import Any

import numpy as np

from flow.ir import Array
from flow.ops.aten_numpy.table import Scalar, as_axes, aten, real

Dim = int | tuple[int, ...] | None


def _counting(input: Array, dtype: str | None) -> np.dtype[Any]:
    """The type of a sum: as asked, else int64 for integers and booleans."""
    if dtype is not None:
        return np.dtype(dtype)
    return input.dtype if input.dtype.kind == "f" else np.dtype(np.int64)


@aten("sum.default", "sum.dim_IntList")
def sum_(input: Array, dim: Dim = None, keepdim: bool = False, dtype: str | None = None) -> Array:
    return np.asarray(np.sum(input, axis=as_axes(dim), keepdims=keepdim, dtype=_counting(input, dtype)))


@aten("mean.default", "mean.dim")
def mean(input: Array, dim: Dim = None, keepdim: bool = False, dtype: str | None = None) -> Array:
    kind = np.dtype(dtype) if dtype else input.dtype
    return np.asarray(np.mean(input, axis=as_axes(dim), keepdims=keepdim, dtype=np.float64)).astype(kind)


@aten("prod.default", "prod.dim_int")
def prod(input: Array, dim: Dim = None, keepdim: bool = False, dtype: str | None = None) -> Array:
    return np.asarray(np.prod(input, axis=as_axes(dim), keepdims=keepdim, dtype=_counting(input, dtype)))


@aten("var.correction", "var.dim", "var.default")
def var(input: Array, dim: Dim = None, keepdim: bool = False, **spread: Any) -> Array:
    degrees = spread.get("correction", int(spread.get("unbiased", True)))
    degrees = 1 if degrees is None else degrees
    x = input.astype(np.float64)
    return np.asarray(np.var(x, axis=as_axes(dim), keepdims=keepdim, ddof=degrees)).astype(input.dtype)


@aten("std.correction", "std.dim", "std.default")
def std(input: Array, dim: Dim = None, keepdim: bool = False, **spread: Any) -> Array:
    return np.sqrt(var(input, dim, keepdim, **spread))


@aten("amax.default")
def amax(input: Array, dim: Dim, keepdim: bool) -> Array:
    return np.asarray(np.max(input, axis=as_axes(dim), keepdims=keepdim))


@aten("amin.default")
def amin(input: Array, dim: Dim, keepdim: bool) -> Array:
    return np.asarray(np.min(input, axis=as_axes(dim), keepdims=keepdim))


@aten("max.default")
def max_(input: Array) -> Array:
    return np.asarray(np.max(input))


@aten("min.default")
def min_(input: Array) -> Array:
    return np.asarray(np.min(input))


@aten("max.dim")
def max_dim(input: Array, dim: int, keepdim: bool) -> tuple[Array, Array]:
    return amax(input, dim, keepdim), argmax(input, dim, keepdim)


@aten("min.dim")
def min_dim(input: Array, dim: int, keepdim: bool) -> tuple[Array, Array]:
    return amin(input, dim, keepdim), argmin(input, dim, keepdim)


@aten("argmax.default")
def argmax(input: Array, dim: int | None, keepdim: bool) -> Array:
    return np.asarray(np.argmax(input, axis=dim, keepdims=keepdim), np.int64)


@aten("argmin.default")
def argmin(input: Array, dim: int | None, keepdim: bool) -> Array:
    return np.asarray(np.argmin(input, axis=dim, keepdims=keepdim), np.int64)


@aten("all.default", "all.dim", "all.dims")
def all_(input: Array, dim: Dim = None, keepdim: bool = False) -> Array:
    return np.asarray(np.all(input, axis=as_axes(dim), keepdims=keepdim))


@aten("any.default", "any.dim", "any.dims")
def any_(input: Array, dim: Dim = None, keepdim: bool = False) -> Array:
    return np.asarray(np.any(input, axis=as_axes(dim), keepdims=keepdim))


@aten("cumsum.default")
def cumsum(input: Array, dim: int, dtype: str | None) -> Array:
    return np.cumsum(input, axis=dim, dtype=_counting(input, dtype)).reshape(input.shape)


@aten("linalg_vector_norm.default", "norm.ScalarOpt_dim", "norm.Scalar", "norm.ScalarOpt_dim_dtype")
def vector_norm(
    input: Array, dim: Dim = None, keepdim: bool = False, dtype: str | None = None, **order: Scalar | None
) -> Array:
    (given,) = order.values() if order else (2,)  # ord, or p
    p = 2.0 if given is None else float(given)
    kind = np.dtype(dtype) if dtype else input.dtype
    x, axes = np.abs(input.astype(np.float64)), as_axes(dim)
    if p in (np.inf, -np.inf):
        y = (np.max if p > 0 else np.min)(x, axis=axes, keepdims=keepdim)
    elif p == 0:
        y = np.sum(x != 0, axis=axes, keepdims=keepdim)
    else:
        y = np.sum(x**p, axis=axes, keepdims=keepdim) ** (1 / p)
    return np.asarray(y).astype(kind)


@aten("softmax.int", "_softmax.default")
def softmax(input: Array, dim: int, dtype: str | None = None, half_to_float: bool = False) -> Array:
    del half_to_float
    x = input.astype(dtype) if dtype else real(input)
    with np.errstate(invalid="ignore"):
        e = np.exp(x - np.max(x, axis=dim, keepdims=True))
        return np.asarray(e / np.sum(e, axis=dim, keepdims=True))


@aten("_safe_softmax.default")
def safe_softmax(input: Array, dim: int, dtype: str | None = None) -> Array:
    y = softmax(input, dim, dtype)
    return np.where(np.all(np.isneginf(input), axis=dim, keepdims=True), y.dtype.type(0), y)


@aten("log_softmax.int", "_log_softmax.default")
def log_softmax(input: Array, dim: int, dtype: str | None = None, half_to_float: bool = False) -> Array:
    del half_to_float
    x = input.astype(dtype) if dtype else real(input)
    return np.asarray(x - logsumexp(x, dim, True))


@aten("logsumexp.default")
def logsumexp(input: Array, dim: Dim, keepdim: bool) -> Array:
    axes = as_axes(dim)
    x = real(input)
    top = np.max(x, axis=axes, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):
        y = np.log(np.sum(np.exp(x - top), axis=axes, keepdims=True)) + top
    return np.asarray(y if keepdim else np.squeeze(y, axes))
