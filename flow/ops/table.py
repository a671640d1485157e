"""Table: a pointwise function as a look-up over an affine index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flow.engine import Engine
from flow.errors import UnsupportedError
from flow.ir.graph import Graph
from flow.ir.op import Array, register
from flow.ir.types import TensorType
from flow.ops import blocks
from flow.ops.device import DeviceOp, Estimate, Work, pipelined, storage
from flow.ops.hardware import Resources


@register
@dataclass(frozen=True, eq=False)
class Table(DeviceOp):
    """`y = values[index]`: index unsigned of 8 to 12 bits, `values` int64 [2^index_bits] within the stored
    type of `bits`."""

    name: ClassVar[str] = "table"
    stage: ClassVar[str | None] = "table"
    values: Array
    bits: int
    signed: bool
    scale: float
    zero: int
    function: str = ""

    @property
    def index_bits(self) -> int:
        """Width of the index: log2 of the number of entries."""
        return len(self.values).bit_length() - 1

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        if inputs[0].signed or not 8 <= self.index_bits <= 12 or len(self.values) != 1 << self.index_bits:
            raise UnsupportedError(
                f"{self.name}: found {len(self.values)} entries indexed by {inputs[0]}; "
                "expected 2^8 to 2^12 and an unsigned index"
            )
        return (TensorType(inputs[0].shape, storage(self.bits, self.signed), self.scale, self.zero),)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.asarray(self.values, np.int64)[np.asarray(inputs[0], np.int64)],)

    @classmethod
    def hardware(cls, engine: Engine) -> Resources:
        """T*P look-ups a cycle, a copy of the table for each lane."""
        return blocks.table(engine)

    def estimate(self, engine: Engine, work: Work) -> Estimate:
        """Pipelined: no cycles of its own. Its entries are part of the linear step's `preload_beats`."""
        return pipelined(self, engine)

    @classmethod
    def examples(cls) -> tuple[Graph, ...]:
        from flow.ops.examples import table_graph

        return (
            table_graph("gelu", tokens=7, channels=12, rows=10),
            table_graph("tanh", tokens=4, channels=8, rows=6, index_bits=10, bits=16),
        )
