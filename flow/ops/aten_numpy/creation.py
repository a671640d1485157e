"""Operators that make tensors: ranges, fills, triangles, type conversions."""
# ruff: noqa: A002, D103 - torch names the arguments and defines the operators

from __future__ import annotations

from typing import Any

import numpy as np

from flow.ir import Array
from flow.ops.aten_numpy.table import Scalar, aten, python_type


def _dtype(name: str | None, *like: Scalar) -> np.dtype[Any]:
    if name is not None:
        return np.dtype(name)
    return np.dtype(np.float32) if any(isinstance(x, float) for x in like) else python_type(like[0])


@aten("arange.default", "arange.start", "arange.start_step")
def arange(
    end: Scalar, start: Scalar = 0, step: Scalar = 1, dtype: str | None = None, **placement: Any
) -> Array:
    del placement
    kind = _dtype(dtype, start, end, step)
    if kind.kind == "f" or not all(isinstance(x, int) for x in (start, end, step)):
        # torch counts in float64 and multiplies, so that errors do not add up.
        count = max(int(np.ceil((float(end) - float(start)) / float(step))), 0)
        return (float(start) + float(step) * np.arange(count, dtype=np.float64)).astype(kind)
    return np.arange(start, end, step, dtype=kind)


@aten("linspace.default")
def linspace(start: Scalar, end: Scalar, steps: int, dtype: str | None = None, **placement: Any) -> Array:
    del placement
    return np.linspace(start, end, steps, dtype=dtype or "float32")


@aten("full.default")
def full(size: tuple[int, ...], fill_value: Scalar, dtype: str | None = None, **placement: Any) -> Array:
    del placement
    return np.full(size, fill_value, _dtype(dtype, fill_value))


@aten("zeros.default")
def zeros(size: tuple[int, ...], dtype: str | None = None, **placement: Any) -> Array:
    del placement
    return np.zeros(size, dtype or "float32")


@aten("ones.default")
def ones(size: tuple[int, ...], dtype: str | None = None, **placement: Any) -> Array:
    del placement
    return np.ones(size, dtype or "float32")


@aten("zeros_like.default")
def zeros_like(input: Array, dtype: str | None = None, **placement: Any) -> Array:
    del placement
    return np.zeros(input.shape, dtype or input.dtype)


@aten("ones_like.default")
def ones_like(input: Array, dtype: str | None = None, **placement: Any) -> Array:
    del placement
    return np.ones(input.shape, dtype or input.dtype)


@aten("full_like.default")
def full_like(input: Array, fill_value: Scalar, dtype: str | None = None, **placement: Any) -> Array:
    del placement
    return np.full(input.shape, fill_value, dtype or input.dtype)


@aten("new_zeros.default")
def new_zeros(input: Array, size: tuple[int, ...], dtype: str | None = None, **placement: Any) -> Array:
    del placement
    return np.zeros(size, dtype or input.dtype)


@aten("new_ones.default")
def new_ones(input: Array, size: tuple[int, ...], dtype: str | None = None, **placement: Any) -> Array:
    del placement
    return np.ones(size, dtype or input.dtype)


@aten("new_full.default")
def new_full(
    input: Array, size: tuple[int, ...], fill_value: Scalar, dtype: str | None = None, **placement: Any
) -> Array:
    del placement
    return np.full(size, fill_value, dtype or input.dtype)


@aten("scalar_tensor.default")
def scalar_tensor(s: Scalar, dtype: str | None = None, **placement: Any) -> Array:
    del placement
    return np.asarray(s, dtype or "float32")


@aten("eye.default", "eye.m")
def eye(n: int, m: int | None = None, dtype: str | None = None, **placement: Any) -> Array:
    del placement
    return np.eye(n, m, dtype=dtype or "float32")


@aten("triu.default")
def triu(input: Array, diagonal: int) -> Array:
    return np.triu(input, diagonal)


@aten("tril.default")
def tril(input: Array, diagonal: int) -> Array:
    return np.tril(input, diagonal)


@aten("to.dtype", "to.dtype_layout", "to.device", "_to_copy.default")
def to(input: Array, dtype: str | None = None, **placement: Any) -> Array:
    del placement
    return input if dtype is None else input.astype(dtype, copy=False)


@aten("to.other", "type_as.default")
def type_as(input: Array, other: Array, **placement: Any) -> Array:
    del placement
    return input.astype(other.dtype, copy=False)


@aten("copy.default")
def copy(input: Array, src: Array, non_blocking: bool = False) -> Array:
    del non_blocking
    return np.broadcast_to(src, input.shape).astype(input.dtype)


@aten("fill.Scalar", "fill.Tensor")
def fill(input: Array, value: Scalar | Array) -> Array:
    return np.full(input.shape, value, input.dtype)


@aten("zero.default")
def zero(input: Array) -> Array:
    return np.zeros_like(input)


@aten("one_hot.default")
def one_hot(input: Array, num_classes: int) -> Array:
    classes = int(input.max()) + 1 if num_classes == -1 else num_classes
    return np.equal(input[..., None], np.arange(classes)).astype(np.int64)
