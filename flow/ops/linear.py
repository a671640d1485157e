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
from flow.ops.device import DeviceOp, Estimate, Work, exact_matmul, hardware_of, timing_of
from flow.ops.hardware import Resources

ISSUE_CYCLES = 11
"""From a step's start to its first slot 7, and from its last one to the next start 4 (linear_issue.v,
step_dispatch.v)."""
LOAD_CYCLES = 35
"""From the start of a step's loading to the first beat of the next one's, beside what is loaded: stages of
loader and router, and the states of the dispatcher (loader_front.v, record_router.v, step_dispatch.v)."""
PAGE_ENTRIES = 256
WINDOW = 16
"""Kept columns that one code chooses from."""


def code_lanes(engine: Engine) -> int:
    """Column offsets that the weight loader looks up in a cycle: a beat holds codes of at most 16 bits for
    so many banks."""
    return min(engine.banks, engine.beat_bytes // 2)


def lookup_rows(engine: Engine) -> int:
    """Rows of a row group whose codes the weight loader looks up abreast, each for all banks: their weights are
    a beat at least (weight_loader.v: Lanes)."""
    return max(1, min(engine.rows, engine.beat_bytes // engine.banks))


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
        """Cycles: `tiles * sum_i max(planes * G*K, least) + wait + 11`; to load: `preload + max(sum beats, sum
        lookups, sum maps) + 35`.

        A row group without weights still writes its bias, a result of two byte planes takes two slots, but two
        results of one slot take turns. The weight loader's three units work beside each other and ahead of the
        array. `wait` is for the first tile of the result of a step before of the same size: the array's and the
        stages' latency, less the other tiles of its last row group.
        """
        tiles, groups, timing = engine.tiles(work.tokens), work.row_groups, timing_of(engine)
        issue = work.planes * groups.cycles
        slots = np.maximum(issue, work.least)
        if work.out_planes == 2 and engine.banks > engine.rows:
            slots = np.where(issue <= 1, 1, slots)
        compute = tiles * int(slots.sum())
        latency = timing.array + timing.post + work.out_planes + 7
        wait = max(0, latency - ISSUE_CYCLES - (tiles - 1) * int(slots[-1]))
        beats = int(groups.beats.sum())
        # Further bursts: a page's first beat and itself, and where the weights begin in the midst of a page.
        fetch = work.fetch_cycles(beats, 3, engine.burst_beats)
        feeds = {
            "memory bandwidth": beats,
            "code look-ups": int(groups.lookups.sum()),
            "column maps": int(groups.maps.sum()),
        }
        slowest = max(feeds, key=lambda name: feeds[name])
        load = work.preload + feeds[slowest] + LOAD_CYCLES
        paced = tiles * int(slots[slots > issue].sum())
        bound = "multipliers" if 2 * paced <= compute else "ports"
        cycles = compute + wait + ISSUE_CYCLES
        feed = "memory bandwidth" if fetch > load else slowest
        macs = work.tokens * self.nonzeros * work.planes
        return Estimate(cycles, fetch, load, 0, macs, bound, hardware_of(type(self), engine), feed)

    @classmethod
    def examples(cls) -> tuple[Graph, ...]:
        from flow.ops.examples import linear_graph

        return (
            linear_graph(tokens=5, channels=12, rows=10),
            linear_graph(tokens=9, channels=20, rows=7, dtype="uint8", density=0.3),
            linear_graph(tokens=6, channels=16, rows=8, dtype="int16"),
            linear_graph(tokens=3, channels=8, rows=4, weight_bits=4),
        )
