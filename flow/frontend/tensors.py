"""Raw tensor payloads of a `.pt2` archive, as numpy arrays."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from flow.errors import FlowError, UnsupportedError
from flow.frontend.schema import TensorMeta, Union
from flow.ir import Array, TensorType

MAX_ELEMENTS = 1 << 33
"""No tensor of a model has more elements: absurd shapes fail here, before memory is asked for."""

MAX_BROADCAST = 1 << 24
"""Elements of a stored tensor that repeats its data by strides of zero."""

MAX_RANK = 32
STRIDED = 7

_STORED = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
}
"""torch's type codes (`ScalarType` of its export schema)."""

_WIDENED = {"float16": "float32", "bfloat16": "float32"}


def element_type(code: Any) -> str:
    """The numpy type that holds a torch type code; half precisions are held, and computed with, as float32.

    Raises:
        UnsupportedError: complex, 8-bit float and other types.
    """
    if not isinstance(code, int) or code not in _STORED:
        known = ", ".join(_STORED.values())
        raise UnsupportedError(
            f"found element type {code!r} of torch's export schema; expected one of {known}"
        )
    return _WIDENED.get(_STORED[code], _STORED[code])


def static_size(size: Union) -> int:
    """One size, stride or offset.

    Raises:
        UnsupportedError: it is symbolic, or no number in 0..2^62.
    """
    value = size.get("as_int")
    if type(value) is int and 0 <= value <= 1 << 62:
        return value
    if "as_expr" in size:
        raise UnsupportedError(f"found the dynamic size {expression(size)}; expected a number")
    raise UnsupportedError(f"found size {value!r}; expected a number in 0..2^62")


def expression(size: Union) -> str:
    """The text of a symbolic size; it is shown, never evaluated."""
    body = size.get("as_expr")
    text = str(body.get("expr_str", "?")) if isinstance(body, dict) else "?"
    return re.sub(r"\b(?:Symbol|Integer)\('?(\w+)[^()]*\)", r"\1", text[:1000])[:60]


def static_shape(meta: TensorMeta) -> tuple[int, ...]:
    """The shape of a tensor.

    Raises:
        UnsupportedError: a size is symbolic, or the shape is absurd.
    """
    shape = tuple(static_size(size) for size in meta.sizes)
    if len(shape) > MAX_RANK or math.prod(max(n, 1) for n in shape) > MAX_ELEMENTS:
        shown = "x".join(map(str, shape[:8]))
        raise UnsupportedError(f"found shape {shown}; expected at most {MAX_RANK} axes and 2^33 elements")
    return shape


def tensor_type(meta: TensorMeta) -> TensorType:
    """Shape and element type.

    Raises:
        UnsupportedError: see `static_shape` and `element_type`.
    """
    return TensorType(static_shape(meta), element_type(meta.dtype))


def tensor(meta: TensorMeta, payload: bytes, where: str) -> Array:
    """The array that a payload and its description stand for; read-only, contiguous.

    The payload is the whole storage; element [i, j, …] lies at offset + i*strides[0] + j*strides[1] + …

    Raises:
        FlowError: the description reaches outside the payload, or is absurd.
    """
    try:
        shape, dtype = static_shape(meta), element_type(meta.dtype)
        strides = [static_size(stride) for stride in meta.strides]
        offset = static_size(meta.storage_offset)
    except UnsupportedError as error:
        raise FlowError(f"{where}: {error}; write the file again with torch.export.save") from error
    if meta.layout != STRIDED:
        raise FlowError(
            f"{where}: found layout {meta.layout}; expected a dense (strided) tensor; call to_dense() first"
        )
    stored = np.dtype({"bool": "uint8", "bfloat16": "uint16"}.get(_STORED[meta.dtype], _STORED[meta.dtype]))
    available = len(payload) // stored.itemsize
    elements = math.prod(shape)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=False))
    absurd = elements > available and elements > MAX_BROADCAST
    if elements and (len(strides) != len(shape) or last >= available or absurd):
        found = (
            f"found shape {list(shape)}, strides {strides}, offset {offset} on {available} stored elements"
        )
        raise FlowError(
            f"{where}: {found}; expected them to lie inside; write the file again with torch.export.save"
        )
    data = np.frombuffer(payload, stored.newbyteorder("<"), available)
    if elements:
        steps = [s * stored.itemsize if n > 1 else 0 for n, s in zip(shape, strides, strict=True)]
        data = np.lib.stride_tricks.as_strided(data[offset:], shape, steps, writeable=False)
    else:
        data = np.zeros(shape, stored)
    return _decoded(np.ascontiguousarray(data).reshape(shape), _STORED[meta.dtype], dtype)


def _decoded(data: Array, stored: str, dtype: str) -> Array:
    if stored == "bool":
        return np.not_equal(data, 0)
    if stored == "bfloat16":
        return (data.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return data.astype(dtype, copy=False)
