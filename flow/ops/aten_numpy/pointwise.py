"""Elementwise operators. Results follow `result_type`; comparisons give bool."""
# ruff: noqa: A002, D103 - torch names the arguments and defines the operators

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import erf as _erf

from flow.ir import Array
from flow.ops.aten_numpy.table import Operand, Scalar, aten, promoted, real, result_type


@aten("add.Tensor", "add.Scalar")
def add(input: Operand, other: Operand, alpha: Scalar = 1) -> Array:
    a, b = promoted(input, other)
    return np.asarray(a | b if a.dtype == np.bool_ else a + b * a.dtype.type(alpha))


@aten("sub.Tensor", "sub.Scalar", "subtract.Tensor")
def sub(input: Operand, other: Operand, alpha: Scalar = 1) -> Array:
    a, b = promoted(input, other)
    return np.asarray(a - b * a.dtype.type(alpha))


@aten("rsub.Tensor", "rsub.Scalar")
def rsub(input: Operand, other: Operand, alpha: Scalar = 1) -> Array:
    return sub(other, input, alpha)


@aten("mul.Tensor", "mul.Scalar", "multiply.Tensor")
def mul(input: Operand, other: Operand) -> Array:
    a, b = promoted(input, other)
    return np.asarray(a * b)


@aten("div.Tensor", "div.Scalar", "true_divide.Tensor", "divide.Tensor")
def div(input: Operand, other: Operand) -> Array:
    with np.errstate(all="ignore"):
        a, b = (real(x) for x in promoted(input, other))
        return np.asarray(a / b)


@aten("div.Tensor_mode", "div.Scalar_mode")
def div_mode(input: Operand, other: Operand, rounding_mode: str | None) -> Array:
    if rounding_mode is None:
        return div(input, other)
    a, b = promoted(input, other)
    if rounding_mode == "floor":
        return np.asarray(np.floor_divide(a, b))
    if a.dtype.kind == "f":
        return np.asarray(np.trunc(a / b))
    return np.asarray(np.floor_divide(a, b) + ((a % b != 0) & ((a < 0) != (b < 0))))


@aten("floor_divide.default", "floor_divide.Scalar")
def floor_divide(input: Operand, other: Operand) -> Array:
    return div_mode(input, other, "floor")


@aten("remainder.Tensor", "remainder.Scalar")
def remainder(input: Operand, other: Operand) -> Array:
    a, b = promoted(input, other)
    return np.asarray(np.remainder(a, b))


@aten("pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar")
def power(input: Operand, exponent: Operand) -> Array:
    with np.errstate(all="ignore"):
        a, b = promoted(input, exponent)
        return np.asarray(np.power(a, b))


@aten("maximum.default", "max.other")
def maximum(input: Array, other: Array) -> Array:
    return np.asarray(np.maximum(*promoted(input, other)))


@aten("minimum.default", "min.other")
def minimum(input: Array, other: Array) -> Array:
    return np.asarray(np.minimum(*promoted(input, other)))


@aten("clamp.default", "clamp.Tensor", "clip.default")
def clamp(input: Array, min: Operand | None, max: Operand | None) -> Array:
    present = [x for x in (min, max) if x is not None]
    result = input.astype(result_type(input, *present), copy=False)
    if min is not None:
        result = np.maximum(result, np.asarray(min).astype(result.dtype))
    if max is not None:
        result = np.minimum(result, np.asarray(max).astype(result.dtype))
    return np.asarray(result)


@aten("clamp_min.default", "clamp_min.Tensor")
def clamp_min(input: Array, min: Operand) -> Array:
    return clamp(input, min, None)


@aten("clamp_max.default", "clamp_max.Tensor")
def clamp_max(input: Array, max: Operand) -> Array:
    return clamp(input, None, max)


@aten("addcmul.default")
def addcmul(input: Array, tensor1: Array, tensor2: Array, value: Scalar) -> Array:
    return add(input, mul(tensor1, tensor2), value)


@aten("addcdiv.default")
def addcdiv(input: Array, tensor1: Array, tensor2: Array, value: Scalar) -> Array:
    return add(input, div(tensor1, tensor2), value)


@aten("lerp.Scalar", "lerp.Tensor")
def lerp(input: Array, end: Array, weight: Operand) -> Array:
    return add(input, mul(sub(end, input), weight))


def _same_type(overload: str, function: Callable[[Array], Any]) -> None:
    """Enter a function that keeps the element type, integers included."""

    def evaluate(input: Array) -> Array:
        return np.asarray(function(input)).astype(input.dtype, copy=False)

    aten(overload)(evaluate)


def _real_type(overload: str, function: Callable[[Array], Any]) -> None:
    """Enter a function of real numbers; integers are converted first."""

    def evaluate(input: Array) -> Array:
        x = real(input)
        with np.errstate(all="ignore"):
            return np.asarray(function(x)).astype(x.dtype, copy=False)

    aten(overload)(evaluate)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


_SAME_TYPE: dict[str, Callable[[Array], Any]] = {
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "square": np.square,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "positive": lambda x: x,
}
for _name, _function in _SAME_TYPE.items():
    _same_type(f"{_name}.default", _function)

_REAL_TYPE: dict[str, Callable[[Array], Any]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "log2": np.log2,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "erf": _erf,
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "hardsigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hardswish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "log_sigmoid": lambda x: -np.logaddexp(0, -x),
    "selu": lambda x: (
        1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))
    ),
}
for _name, _function in _REAL_TYPE.items():
    _real_type(f"{_name}.default", _function)


@aten("gelu.default")
def gelu(input: Array, approximate: str) -> Array:
    x = input.astype(np.float64)
    if approximate == "tanh":
        y = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    else:
        y = 0.5 * x * (1 + _erf(x / math.sqrt(2)))
    return np.asarray(y).astype(input.dtype)


@aten("leaky_relu.default")
def leaky_relu(input: Array, negative_slope: float) -> Array:
    return np.where(input > 0, input, input * input.dtype.type(negative_slope))


@aten("elu.default")
def elu(input: Array, alpha: float, scale: float, input_scale: float) -> Array:
    y = scale * np.where(input > 0, input, alpha * np.expm1(np.minimum(input, 0) * input_scale))
    return y.astype(input.dtype)


@aten("softplus.default")
def softplus(input: Array, beta: float, threshold: float) -> Array:
    scaled = input * beta
    return np.where(scaled > threshold, input, np.logaddexp(0, scaled) / beta).astype(input.dtype)


@aten("hardtanh.default")
def hardtanh(input: Array, min_val: Scalar, max_val: Scalar) -> Array:
    return clamp(input, min_val, max_val)


@aten("glu.default")
def glu(input: Array, dim: int) -> Array:
    a, b = np.split(input, 2, axis=dim)
    return (a * sigmoid(b)).astype(input.dtype)


@aten("nan_to_num.default")
def nan_to_num(input: Array, nan: float | None, posinf: float | None, neginf: float | None) -> Array:
    return np.nan_to_num(input, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)


for _name, _compare in {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}.items():

    def _evaluate(input: Array, other: Operand, _compare: np.ufunc = _compare) -> Array:
        return np.asarray(_compare(*promoted(input, other)))

    aten(f"{_name}.Tensor", f"{_name}.Scalar")(_evaluate)


@aten("logical_and.default")
def logical_and(input: Array, other: Array) -> Array:
    return np.asarray(np.logical_and(input, other))


@aten("logical_or.default")
def logical_or(input: Array, other: Array) -> Array:
    return np.asarray(np.logical_or(input, other))


@aten("logical_xor.default")
def logical_xor(input: Array, other: Array) -> Array:
    return np.asarray(np.logical_xor(input, other))


@aten("logical_not.default")
def logical_not(input: Array) -> Array:
    return np.asarray(np.logical_not(input))


@aten("bitwise_and.Tensor", "bitwise_and.Scalar", "__and__.Tensor", "__and__.Scalar")
def bitwise_and(input: Array, other: Operand) -> Array:
    return np.asarray(np.bitwise_and(*promoted(input, other)))


@aten("bitwise_or.Tensor", "bitwise_or.Scalar", "__or__.Tensor", "__or__.Scalar")
def bitwise_or(input: Array, other: Operand) -> Array:
    return np.asarray(np.bitwise_or(*promoted(input, other)))


@aten("bitwise_xor.Tensor", "bitwise_xor.Scalar", "__xor__.Tensor", "__xor__.Scalar")
def bitwise_xor(input: Array, other: Operand) -> Array:
    return np.asarray(np.bitwise_xor(*promoted(input, other)))


@aten("bitwise_not.default")
def bitwise_not(input: Array) -> Array:
    return np.asarray(np.invert(input))


@aten("isnan.default")
def isnan(input: Array) -> Array:
    return np.asarray(np.isnan(input))


@aten("isinf.default")
def isinf(input: Array) -> Array:
    return np.asarray(np.isinf(input))


@aten("isfinite.default")
def isfinite(input: Array) -> Array:
    return np.asarray(np.isfinite(input))


@aten("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def where(condition: Array, input: Operand, other: Operand) -> Array:
    return np.where(condition, *promoted(input, other))


@aten("masked_fill.Scalar", "masked_fill.Tensor")
def masked_fill(input: Array, mask: Array, value: Operand) -> Array:
    return np.where(mask, np.asarray(value).astype(input.dtype), input)
