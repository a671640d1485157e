"""Tensor types: what flows along an edge of the graph."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

FLOAT_TYPES = frozenset({"float16", "bfloat16", "float32", "float64"})
INTEGER_BITS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32}
"""Element types of device tensors and their storage bits."""


@dataclass(frozen=True)
class TensorType:
    """Shape and element type of a value.

    `dtype` is a numpy name (`bfloat16` is held as float32 data). A quantised integer carries the real step of
    one unit (`scale`) and the integer that means zero (`zero_point`); for device tensors these are per
    tensor. They document the value and drive SQNR reports; integer semantics never read them.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int = 0

    @property
    def is_float(self) -> bool:
        """A real-valued tensor."""
        return self.dtype in FLOAT_TYPES

    @property
    def bits(self) -> int:
        """Storage bits of an integer device element."""
        return INTEGER_BITS[self.dtype]

    @property
    def signed(self) -> bool:
        """Whether the element type is signed."""
        return not self.dtype.startswith("uint")

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def with_shape(self, *shape: int) -> TensorType:
        """The same elements in another shape."""
        return replace(self, shape=tuple(shape))

    def __str__(self) -> str:
        dims = "x".join(str(d) for d in self.shape)
        quant = (
            ""
            if self.scale is None
            else f" @{self.scale:.4g}" + (f"{self.zero_point:+d}" if self.zero_point else "")
        )
        return f"{self.dtype}[{dims}]{quant}"
