"""A constant tensor in the device's store: position tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flow.engine import Engine
from flow.ir.graph import Graph
from flow.ir.op import Array, register
from flow.ir.types import TensorType
from flow.ops import blocks
from flow.ops.device import DeviceOp, Estimate, Work, hardware_of
from flow.ops.hardware import Resources

MEMORY_CYCLES = 113
"""From a step's start to its first beat, and from its last beat to the next start: the memory's 100 cycles and the
registers of memory_reader.v and tensor_reader.v."""


@register
@dataclass(frozen=True, eq=False)
class DeviceConstant(DeviceOp):
    """int16 [S, C] read from the memory image. `scale` is the real step."""

    name: ClassVar[str] = "table_tensor"
    stage: ClassVar[str | None] = None
    value: Array
    scale: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (TensorType(tuple(self.value.shape), "int16", self.scale),)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        return (self.value,)

    @classmethod
    def hardware(cls, engine: Engine) -> Resources:
        """Beats to words of the token memories; INPUT takes the same way."""
        return blocks.reader(engine)

    def estimate(self, engine: Engine, work: Work) -> Estimate:
        """Cycles: one for each memory beat or line, and the memory's latency: nothing comes before a constant
        that its beats could hide behind."""
        lines = engine.tiles(work.tokens) * work.planes * work.depth
        beats = -(-lines * engine.banks * engine.tokens // engine.beat_bytes)
        fetch = work.fetch_cycles(beats, 0, engine.burst_beats)
        cycles = max(lines, fetch) + MEMORY_CYCLES
        resources = hardware_of(type(self), engine)
        return Estimate(cycles, fetch, beats, 0, 0, "memory bandwidth", resources)

    @classmethod
    def examples(cls) -> tuple[Graph, ...]:
        from flow.ops.examples import residual_graph

        return (residual_graph(tokens=4, channels=8, constant=True),)
