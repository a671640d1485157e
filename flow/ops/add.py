"""Residual addition, straight from the accumulators: the residual stream stays int16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flow.engine import Engine
from flow.errors import UnsupportedError
from flow.ir.graph import Graph
from flow.ir.op import Array, register
from flow.ir.types import TensorType
from flow.numerics import rescale, saturate
from flow.ops import blocks
from flow.ops.device import DeviceOp, Estimate, Work, pipelined
from flow.ops.hardware import Resources


@register
@dataclass(frozen=True, eq=False)
class ResidualAdd(DeviceOp):
    """`y = sat16(rescale(acc, m[n], s[n]) + rescale(residual, rm, rs))`. Inputs: acc int32 [S, N], residual
    int16 [S, N]."""

    name: ClassVar[str] = "add"
    stage: ClassVar[str | None] = "add"
    multiplier: Array
    shift: Array
    residual_multiplier: int
    residual_shift: int
    scale: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        acc, residual = inputs
        if acc.shape != residual.shape or residual.dtype != "int16":
            raise UnsupportedError(
                f"{self.name}: found {acc} + {residual}; expected an int16 residual of the same shape"
            )
        return (TensorType(acc.shape, "int16", self.scale),)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        acc, residual = inputs
        return (
            saturate(
                rescale(acc, self.multiplier, self.shift)
                + rescale(residual, self.residual_multiplier, self.residual_shift),
                16,
            ),
        )

    @classmethod
    def hardware(cls, engine: Engine) -> Resources:
        """A second product in T*P lanes, and the choice of the residual's words."""
        return blocks.add(engine)

    def estimate(self, engine: Engine, work: Work) -> Estimate:
        """Pipelined: no cycles of its own; `linear` counts the ports that the residual takes."""
        return pipelined(self, engine)

    @classmethod
    def examples(cls) -> tuple[Graph, ...]:
        from flow.ops.examples import residual_graph

        return (residual_graph(tokens=5, channels=12), residual_graph(tokens=9, channels=10, constant=True))
