"""LayerNorm and RMSNorm of the int16 residual stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flow.engine import Engine
from flow.errors import FitError, UnsupportedError
from flow.ir.graph import Graph
from flow.ir.op import Array, register
from flow.ir.types import TensorType
from flow.numerics import norm_gain, normalise
from flow.ops.device import DeviceOp, Estimate, Work, storage

MAX_CHANNELS = 4096
"""C^2 * 2^30 must stay below 2^62 in `normalise`."""
FILL_CYCLES = 48
"""Square root and reciprocal, pipelined to one token a cycle, and the gain's product."""


@register
@dataclass(frozen=True, eq=False)
class Norm(DeviceOp):
    """`y = norm_gain(normalise(x, epsilon, centred), gain, bias, shift, bits)`: x int16 [S, C] to int8 or int16 [S, C].

    `gain` int16-ranged [C], `bias` within 48 bits [C], one `shift` k. Norms of one input run as one step with two outputs.
    """

    name: ClassVar[str] = "norm"
    stage: ClassVar[str | None] = "norm"
    centred: bool
    epsilon: int
    gain: Array
    bias: Array
    shift: int
    bits: int
    scale: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x = inputs[0]
        if x.dtype != "int16" or len(x.shape) != 2 or x.shape[1:] != self.gain.shape:
            raise UnsupportedError(f"{self.name}: found input {x}; expected int16 [S, {len(self.gain)}]")
        if x.shape[1] > MAX_CHANNELS or not 0 <= self.epsilon < 2**60:
            raise FitError(f"{self.name}: found {x.shape[1]} channels, epsilon {self.epsilon}; expected at most {MAX_CHANNELS} and below 2^60")
        return (TensorType(x.shape, storage(self.bits, True), self.scale),)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        return (norm_gain(normalise(inputs[0], self.epsilon, self.centred), self.gain, self.bias, self.shift, self.bits),)

    def estimate(self, engine: Engine, work: Work) -> Estimate:
        """Cycles: `tiles * ceil(C/L)` plus fill; statistics gather while the input is written."""
        lanes = min(engine.norm_lanes, engine.banks)
        cycles = engine.tiles(work.tokens) * (-(-work.depth * engine.banks // lanes)) + FILL_CYCLES
        return Estimate(cycles, 0, 0, 0, 0, 0, 0)

    @classmethod
    def examples(cls) -> tuple[Graph, ...]:
        from flow.ops.examples import norm_graph

        return (norm_graph(tokens=5, channels=12), norm_graph(tokens=6, channels=20, centred=False), norm_graph(tokens=3, channels=9, bits=(16, 8)))
