"""Quantise and dequantise: the border between real and integer tensors (QDQ operators, and the host's
conversions)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flow.errors import UnsupportedError
from flow.ir.op import Array, Op, register
from flow.ir.types import TensorType


@dataclass(frozen=True, eq=False)
class QuantSpec(Op):
    """Shared fields: `q = clip(round_half_even(x / scale) + zero_point, qmin, qmax)`, x ~ (q - zero_point) *
    scale.

    `scale` (float64) and `zero_point` (int64) have shape () per tensor or [N] along `axis`. `dtype` is the
    integer container.
    """

    scale: Array
    zero_point: Array
    qmin: int
    qmax: int
    dtype: str
    axis: int | None = None

    @property
    def bits(self) -> int:
        """Width of the integer range, e.g. 8 for -128..127, -127..127 and 0..255; 12 for 0..4095."""
        return int(max(self.qmax, -self.qmin - 1) + (self.qmax + 1 if self.qmin < 0 else 0)).bit_length()

    @property
    def per_tensor(self) -> bool:
        """One scale for the whole tensor."""
        return self.axis is None

    def _along(self, parameter: Array, rank: int) -> Array:
        if self.axis is None:
            return parameter
        return parameter.reshape([-1 if d == self.axis else 1 for d in range(rank)])

    def _check(self, shape: tuple[int, ...]) -> None:
        if self.axis is not None and (self.axis >= len(shape) or self.scale.shape != (shape[self.axis],)):
            raise UnsupportedError(
                f"{self.name}: found {self.scale.shape} scales along axis {self.axis} of {shape}; expected "
                "one per channel"
            )


@register
@dataclass(frozen=True, eq=False)
class Quantize(QuantSpec):
    """Real to integer; on the host in float64."""

    name: ClassVar[str] = "quantize"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        self._check(inputs[0].shape)
        return (TensorType(inputs[0].shape, self.dtype, *self._doc()),)

    def _doc(self) -> tuple[float | None, int]:
        return (float(self.scale), int(self.zero_point)) if self.per_tensor else (None, 0)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        x = np.asarray(inputs[0], np.float64)
        q = np.rint(x / self._along(self.scale, x.ndim)) + self._along(self.zero_point, x.ndim)
        return (np.clip(q, self.qmin, self.qmax).astype(self.dtype),)


@register
@dataclass(frozen=True, eq=False)
class Dequantize(QuantSpec):
    """Integer to real (float32 result computed in float64)."""

    name: ClassVar[str] = "dequantize"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        self._check(inputs[0].shape)
        return (TensorType(inputs[0].shape, "float32"),)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        q = np.asarray(inputs[0], np.float64)
        x = (q - self._along(self.zero_point, q.ndim)) * self._along(self.scale, q.ndim)
        return (x.astype(np.float32),)
