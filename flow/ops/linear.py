"""Linear: `acc[s, n] = bias[n] + sum_c w[n, c] * x[s, c]`, the array operator of every matrix with constant
weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from flow.engine import Engine
from flow.errors import UnsupportedError
from flow.ir.graph import Graph
from flow.ir.op import Array, register
from flow.ir.types import TensorType
from flow.numerics import ACCUMULATOR_LIMIT
from flow.ops import blocks
from flow.ops.device import Counts, DeviceOp, Estimate, Work, exact_matmul, hardware_of
from flow.ops.hardware import Resources, address_bits

PIPELINE_CYCLES = 15
"""From an operand's read to its stored result, the adder tree apart: memory 2, product 3, accumulator 1,
requantise 2 + 3 + 1, table 2, write 1."""
PAGE_ENTRIES = 256
WINDOW = 16
"""Kept columns that one code chooses from."""


def code_lanes(engine: Engine) -> int:
    """Column offsets that the weight loader looks up in a cycle: a beat holds codes of at most 16 bits for
    so many banks."""
    return min(engine.banks, engine.beat_bytes // 2)


def _next(groups: Counts) -> Counts:
    """The index of the row group that is loaded while each one runs; the last loads none."""
    return np.minimum(np.arange(1, len(groups) + 1), len(groups) - 1)


@register
@dataclass(frozen=True, eq=False)
class Linear(DeviceOp):
    """x int8, uint8 or int16 [S, C] to int32 accumulators [S, N].

    `weight` int8 [N, C] (int4: -7..7 with `weight_bits` 4), `bias` int32 [N], into which the input's zero
    point is already folded. `weight_scale` float64 [N] documents the real step of a weight. An int16 input
    takes two byte passes.
    """

    name: ClassVar[str] = "linear"
    stage: ClassVar[str | None] = None
    weight: Array
    bias: Array
    weight_bits: int = 8

    @cached_property
    def nonzeros(self) -> int:
        """Weights that are not zero."""
        return int(np.count_nonzero(self.weight))

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x = inputs[0]
        rows, channels = self.weight.shape
        if len(x.shape) != 2 or x.shape[1] != channels or x.dtype not in ("int8", "uint8", "int16"):
            raise UnsupportedError(
                f"{self.name}: found input {x}; expected int8, uint8 or int16 [S, {channels}]"
            )
        self.prove_accumulators(128 if x.dtype == "int8" else 2**x.bits - 1 if not x.signed else 2**15)
        return (TensorType((x.shape[0], rows), "int32"),)

    def prove_accumulators(self, largest: int) -> None:
        """Refuse weights with which an int32 accumulator could overflow for inputs of magnitude `largest`.

        Raises:
            UnsupportedError: `|bias| + sum |w| * largest >= 2^31` for a row.
        """
        bound = (
            np.abs(self.bias.astype(np.int64)) + np.abs(self.weight.astype(np.int64)).sum(axis=1) * largest
        )
        worst = int(bound.argmax()) if bound.size else 0
        if bound.size and bound[worst] >= ACCUMULATOR_LIMIT:
            raise UnsupportedError(
                f"{self.name}: found output channel {worst} able to reach {int(bound[worst])} in its accumulator; "
                "expected below 2^31; quantise its input to int8, or its weights to fewer bits"
            )

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        return (exact_matmul(inputs[0], self.weight.T) + self.bias.astype(np.int64),)

    @classmethod
    def hardware(cls, engine: Engine) -> Resources:
        """The array, its operands and weights, and what issues its slots."""
        return blocks.linear(engine)

    def estimate(self, engine: Engine, work: Work) -> Estimate:
        """Cycles of all row groups, one after the other, while the next one's record is loaded into the
        other buffer:

        `fetch(preload) + feed[0] + sum_i max(array[i], feed[i+1]) + fill`, with `array = tiles * max(planes *
        G*K, out_planes)` (the store has one write port, and a residual of two planes one read port) and `feed
        = max(fetch(beats), lookups / code_lanes)`. A row group without weights still writes its bias.
        """
        tiles, groups = engine.tiles(work.tokens), work.row_groups
        issue = work.planes * groups.cycles
        compute = tiles * np.maximum(issue, work.out_planes)
        fetch = np.ceil(groups.beats * work.beat_cycles).astype(np.int64)
        expand = -(-groups.lookups // code_lanes(engine))
        feed = np.append(np.maximum(fetch, expand), 0)
        spent = np.maximum(compute, feed[1:])
        fill = PIPELINE_CYCLES + address_bits(engine.banks)
        exposed = work.fetch_cycles(work.preload_beats) + int(feed[0])
        waits = {
            "multipliers": int(compute[(spent == compute) & (issue >= work.out_planes)].sum()),
            "ports": int(compute[(spent == compute) & (issue < work.out_planes)].sum()),
            "memory bandwidth": exposed
            + int(spent[(spent > compute) & (fetch >= expand)[_next(spent)]].sum()),
            "code look-ups": int(spent[(spent > compute) & (fetch < expand)[_next(spent)]].sum()),
        }
        macs = work.tokens * self.nonzeros * work.planes
        bound = max(waits, key=lambda name: waits[name])
        return Estimate(exposed + int(spent.sum()) + fill, macs, bound, hardware_of(type(self), engine))

    @classmethod
    def examples(cls) -> tuple[Graph, ...]:
        from flow.ops.examples import linear_graph

        return (
            linear_graph(tokens=5, channels=12, rows=10),
            linear_graph(tokens=9, channels=20, rows=7, dtype="uint8", density=0.3),
            linear_graph(tokens=6, channels=16, rows=8, dtype="int16"),
            linear_graph(tokens=3, channels=8, rows=4, weight_bits=4),
        )
