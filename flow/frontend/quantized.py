"""torch's quantize and dequantize operators (`quantized_decomposed`) to `Quantize` and `Dequantize`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flow.errors import UnsupportedError
from flow.frontend.program import Call, Name
from flow.ir import Array
from flow.ops.quant import Dequantize, Quantize, QuantSpec

Lookup = Callable[[str], Array | None]
"""The stored tensor behind a name, or None."""

_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32")
_STATIC = "expected a static one; calibrate with torchao's PT2E flow or flow quantize"


def _per_tensor(kind: type[QuantSpec], call: Call, lookup: Lookup) -> tuple[QuantSpec, str]:
    scale = _parameter(call, "scale", np.float64, lookup)
    zero_point = _parameter(call, "zero_point", np.int64, lookup)
    if scale.size != 1 or zero_point.size != 1:
        raise UnsupportedError(
            f"found {scale.size} scales and {zero_point.size} zero points; expected one of each"
        )
    return _spec(kind, call, scale.reshape(()), zero_point.reshape(()), None)


def _per_channel(kind: type[QuantSpec], call: Call, lookup: Lookup) -> tuple[QuantSpec, str]:
    scales = _parameter(call, "scales", np.float64, lookup).reshape(-1)
    given = call.arguments.get("zero_points")
    zero_points = (
        np.zeros(len(scales), np.int64)
        if given is None
        else _parameter(call, "zero_points", np.int64, lookup)
    )
    axis = call.arguments.get("axis")
    rank = len(call.types[0].shape) if call.types else 0
    if not isinstance(axis, int) or not -rank <= axis < rank or zero_points.shape != scales.shape:
        raise UnsupportedError(
            f"found axis {axis!r} of {rank}, {scales.size} scales and {zero_points.size} zero points; "
            "expected one of each for every channel"
        )
    return _spec(kind, call, scales, zero_points, axis % rank)


def _parameter(call: Call, key: str, dtype: type[np.generic], lookup: Lookup) -> Array:
    """A number or a stored tensor."""
    value = call.arguments.get(key)
    array = lookup(value.text) if isinstance(value, Name) else np.asarray(value) if _number(value) else None
    if array is None:
        raise UnsupportedError(f"found a {key} that is computed at run time; {_STATIC}")
    exact = array.astype(dtype)
    if not np.array_equal(exact, array):
        raise UnsupportedError(f"found a {key} that is no integer; expected integers")
    return exact


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _spec(
    kind: type[QuantSpec], call: Call, scale: Array, zero_point: Array, axis: int | None
) -> tuple[QuantSpec, str]:
    """The operator and the name of the tensor it works on."""
    arguments = call.arguments
    low, high, dtype = arguments.get("quant_min"), arguments.get("quant_max"), arguments.get("dtype")
    if dtype not in _INTEGERS:
        raise UnsupportedError(f"found element type {dtype}; expected one of {', '.join(_INTEGERS)}")
    if arguments.get("out_dtype") not in (None, "float32"):
        raise UnsupportedError(f"found out_dtype {arguments['out_dtype']}; expected float32")
    if not np.all(np.isfinite(scale)) or np.any(scale <= 0):
        raise UnsupportedError("found a scale that is zero, negative or infinite; expected positive numbers")
    limits = np.iinfo(dtype)
    if not isinstance(low, int) or not isinstance(high, int) or not limits.min <= low < high <= limits.max:
        raise UnsupportedError(f"found the range {low}..{high} in {dtype}; expected one that it can hold")
    if np.any(zero_point < low) or np.any(zero_point > high):
        raise UnsupportedError(f"found a zero point outside {low}..{high}; expected it inside")
    source = arguments.get("input")
    if not isinstance(source, Name):
        raise UnsupportedError("found no input tensor; expected one")
    return kind(scale, zero_point, low, high, dtype, axis), source.text


Handler = Callable[[Call, Lookup], tuple[QuantSpec, str]]


def _handler(
    form: Callable[[type[QuantSpec], Call, Lookup], tuple[QuantSpec, str]], kind: type[QuantSpec]
) -> Handler:
    return lambda call, lookup: form(kind, call, lookup)


_HANDLERS: dict[str, Handler] = {
    **{
        f"{verb}_per_tensor.{overload}": _handler(_per_tensor, kind)
        for verb, kind in (("quantize", Quantize), ("dequantize", Dequantize))
        for overload in ("default", "tensor")
    },
    "quantize_per_channel.default": _handler(_per_channel, Quantize),
    "dequantize_per_channel.default": _handler(_per_channel, Dequantize),
}


def operator(call: Call, lookup: Lookup) -> tuple[QuantSpec, str]:
    """The operator of a call to `quantized_decomposed`, and the name of the tensor that it works on.

    Raises:
        UnsupportedError: another form of quantization, or parameters that are not static or out of range.
    """
    handler = _HANDLERS.get(call.target.removeprefix("quantized_decomposed."))
    if handler is None:
        known = ", ".join(sorted({name.partition(".")[0] for name in _HANDLERS}))
        raise UnsupportedError(
            f"found this form of quantization; expected one of {known}, with static scales"
        )
    return handler(call, lookup)
