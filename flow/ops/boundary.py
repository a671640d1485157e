"""The device's own output: integers that leave as a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flow.engine import Engine
from flow.ir.graph import Graph
from flow.ir.op import Array, register
from flow.ir.types import TensorType
from flow.ops import blocks
from flow.ops.device import DeviceOp, Estimate, Work, hardware_of
from flow.ops.hardware import Resources

WRITTEN_CYCLES = 5
"""From an input step's last beat to the next step's start: its write, and the dispatcher (tensor_reader.v)."""
SENT_CYCLES = 10
"""From an output step's start to its first tile, and from its last read to the end (tensor_writer.v)."""


def stream_cycles(engine: Engine, work: Work) -> int:
    """Beats of a tensor that enters or leaves, or its lines where a beat holds several: `tiles * planes * D *
    max(1, B*T / stream_bytes)`, rounded up."""
    lines = engine.tiles(work.tokens) * work.planes * work.depth
    return max(lines, -(-lines * engine.banks * engine.tokens // engine.stream_bytes))


@register
@dataclass(frozen=True, eq=False)
class DeviceOutput(DeviceOp):
    """The identity on [S, C], except that tokens at or beyond the length (`attention_mask` [1, S], if given)
    are 0. `key` names the stream."""

    name: ClassVar[str] = "output"
    stage: ClassVar[str | None] = None
    key: str

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (inputs[0],)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        x = np.array(inputs[0], np.int64)
        if len(inputs) == 2:
            x[int(np.count_nonzero(inputs[1])) :] = 0
        return (x,)

    @classmethod
    def hardware(cls, engine: Engine) -> Resources:
        """Words of the token memories to beats of the stream."""
        return blocks.writer(engine)

    def estimate(self, engine: Engine, work: Work) -> Estimate:
        """Cycles: one for each stream beat or line and each tile, and the way of the last."""
        cycles = stream_cycles(engine, work) + engine.tiles(work.tokens) + SENT_CYCLES
        return Estimate(cycles, 0, 0, 0, 0, "stream", hardware_of(type(self), engine))

    @classmethod
    def examples(cls) -> tuple[Graph, ...]:
        from flow.ops.examples import linear_graph

        return (linear_graph(tokens=5, channels=8, rows=6, bits=16, masked=True),)
