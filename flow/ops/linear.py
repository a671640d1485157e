"""Linear: `acc[s, n] = bias[n] + sum_c w[n, c] * x[s, c]`, the array operator of every matrix with constant weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flow.engine import Engine
from flow.errors import UnsupportedError
from flow.ir.graph import Graph
from flow.ir.op import Array, register
from flow.ir.types import TensorType
from flow.numerics import ACCUMULATOR_LIMIT
from flow.ops.device import DeviceOp, Estimate, Work, exact_matmul

FILL_CYCLES = 16
"""From the first operand read to the first stored result: read, multiply, adder tree, requantise, write."""


@register
@dataclass(frozen=True, eq=False)
class Linear(DeviceOp):
    """x int8, uint8 or int16 [S, C] to int32 accumulators [S, N].

    `weight` int8 [N, C] (int4: -7..7 with `weight_bits` 4), `bias` int32 [N], into which the input's zero point is already
    folded. `weight_scale` float64 [N] documents the real step of a weight. An int16 input takes two byte passes.
    """

    name: ClassVar[str] = "linear"
    stage: ClassVar[str | None] = None
    weight: Array
    bias: Array
    weight_bits: int = 8

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x = inputs[0]
        rows, channels = self.weight.shape
        if len(x.shape) != 2 or x.shape[1] != channels or x.dtype not in ("int8", "uint8", "int16"):
            raise UnsupportedError(f"{self.name}: found input {x}; expected int8, uint8 or int16 [S, {channels}]")
        self.prove_accumulators(128 if x.dtype == "int8" else 2**x.bits - 1 if not x.signed else 2**15)
        return (TensorType((x.shape[0], rows), "int32"),)

    def prove_accumulators(self, largest: int) -> None:
        """Refuse weights with which an int32 accumulator could overflow for inputs of magnitude `largest`.

        Raises:
            UnsupportedError: `|bias| + sum |w| * largest >= 2^31` for a row.
        """
        bound = np.abs(self.bias.astype(np.int64)) + np.abs(self.weight.astype(np.int64)).sum(axis=1) * largest
        worst = int(bound.argmax()) if bound.size else 0
        if bound.size and bound[worst] >= ACCUMULATOR_LIMIT:
            raise UnsupportedError(
                f"{self.name}: found output channel {worst} able to reach {int(bound[worst])} in its accumulator; expected below 2^31; "
                "quantise its input to int8, or its weights to fewer bits"
            )

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        return (exact_matmul(inputs[0], self.weight.T) + self.bias.astype(np.int64),)

    def estimate(self, engine: Engine, work: Work) -> Estimate:
        """Cycles: `max(planes * tiles * sum G*K, weight beats, code look-ups)` plus fill.

        DSP: T*B*P/2 (two products each); LUT and FF: the adder tree (8 to 20 bits growing over log2 B levels), the code
        expansion and address registers; BRAM: operand halves in ceil(P/2) copies, store, values, record buffers.
        """
        tiles = engine.tiles(work.tokens)
        compute = work.planes * tiles * work.row_cycles
        lookups = -(-work.groups * engine.rows * engine.banks // max(1, engine.rows * engine.banks // 4))
        cycles = max(compute, work.beats, lookups) + FILL_CYCLES
        macs = work.tokens * int(np.count_nonzero(self.weight)) * work.planes
        return Estimate(cycles, macs, 0, 0, 0, 0, 0)

    @classmethod
    def examples(cls) -> tuple[Graph, ...]:
        from flow.ops.examples import linear_graph

        return (linear_graph(tokens=5, channels=12, rows=10), linear_graph(tokens=9, channels=20, rows=7, dtype="uint8", density=0.3),
                linear_graph(tokens=6, channels=16, rows=8, dtype="int16"), linear_graph(tokens=3, channels=8, rows=4, weight_bits=4))  # fmt: skip
