"""Requantise: int32 accumulators to a stored type or a table index, per output channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flow.engine import Engine
from flow.ir.graph import Graph
from flow.ir.op import Array, register
from flow.ir.types import TensorType
from flow.numerics import rescale, saturate
from flow.ops import blocks
from flow.ops.device import DeviceOp, Estimate, Work, pipelined, storage
from flow.ops.hardware import Resources


@register
@dataclass(frozen=True, eq=False)
class Requantise(DeviceOp):
    """`y = sat(rescale(acc, m[n], s[n]) + zero)` to `bits`, signed or not. `multiplier` and `shift` int64
    [N]; `scale` is the real step of y."""

    name: ClassVar[str] = "requantise"
    stage: ClassVar[str | None] = None
    multiplier: Array
    shift: Array
    bits: int
    signed: bool
    zero: int
    scale: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (TensorType(inputs[0].shape, storage(self.bits, self.signed), self.scale, self.zero),)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        return (
            saturate(
                rescale(inputs[0], self.multiplier, self.shift) + np.int64(self.zero), self.bits, self.signed
            ),
        )

    @classmethod
    def hardware(cls, engine: Engine) -> Resources:
        """T*P lanes behind the array, and the constants of its rows."""
        return blocks.requantise(engine)

    def estimate(self, engine: Engine, work: Work) -> Estimate:
        """Pipelined behind the array: no cycles of its own."""
        return pipelined(self, engine)

    @classmethod
    def examples(cls) -> tuple[Graph, ...]:
        from flow.ops.examples import linear_graph

        return (
            linear_graph(tokens=4, channels=8, rows=6, bits=8, signed=False),
            linear_graph(tokens=4, channels=8, rows=6, bits=16),
        )
