"""Pooling over tokens: the mean, or the first token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flow.engine import Engine
from flow.errors import UnsupportedError
from flow.ir.graph import Graph
from flow.ir.op import Array, register
from flow.ir.types import TensorType
from flow.numerics import Scale, mean_pool, requantise
from flow.ops import blocks
from flow.ops.device import DeviceOp, Estimate, Work, hardware_of, storage
from flow.ops.hardware import Resources

SCALE_CYCLES = 7
"""From a sum to its result (pool_unit.v)."""
FILL_CYCLES = 15
"""From a step's start to the first values 8, tokens added up 3, and from its last write to the next start 4."""


@register
@dataclass(frozen=True, eq=False)
class Pool(DeviceOp):
    """int16 [S, C] (and `attention_mask` [1, S]) to [1, C].

    mean: `requantise(sum over the length * floor(2^16/len), m, s)`; first: `requantise(x[0], m, s)`;
    saturated to `bits`.
    """

    name: ClassVar[str] = "pool"
    stage: ClassVar[str | None] = "pool"
    mean: bool
    multiplier: int
    shift: int
    bits: int
    scale: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        if inputs[0].dtype != "int16" or len(inputs[0].shape) != 2:
            raise UnsupportedError(f"{self.name}: found input {inputs[0]}; expected int16 [S, C]")
        return (TensorType((1, inputs[0].shape[1]), storage(self.bits, True), self.scale),)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        x = np.asarray(inputs[0], np.int64)
        if not self.mean:
            return (requantise(x[:1], self.multiplier, self.shift, self.bits),)
        length = int(np.count_nonzero(inputs[1])) if len(inputs) == 2 else x.shape[0]
        total = x[:length].sum(axis=0, keepdims=True)
        return (mean_pool(total, length, Scale(self.multiplier, self.shift), self.bits),)

    @classmethod
    def hardware(cls, engine: Engine) -> Resources:
        """Sums over tokens, a mean and a requantiser."""
        return blocks.pool(engine)

    def estimate(self, engine: Engine, work: Work) -> Estimate:
        """Cycles: `sweep + (D - 1) * max(sweep, B + 8 + planes) + B + 7 + planes + fill` with `sweep = tiles *
        max(B/L, 3)`: a line of B channels is added up over all tiles, L channels a cycle behind one read port,
        while the sums of the line before leave one a cycle; one tile for the first token."""
        lanes = min(engine.norm_lanes, engine.banks)
        tiles = engine.tiles(work.tokens if self.mean else 1)
        pieces = engine.banks // lanes
        sweep = tiles * max(pieces, 3)
        leave = engine.banks + SCALE_CYCLES + work.out_planes
        bound = "post lanes" if leave >= sweep else "norm lanes" if pieces >= 3 else "ports"
        cycles = sweep + (work.depth - 1) * max(sweep, leave + 1) + leave + FILL_CYCLES
        return Estimate(cycles, 0, 0, 0, 0, bound, hardware_of(type(self), engine))

    @classmethod
    def examples(cls) -> tuple[Graph, ...]:
        from flow.ops.examples import pool_graph

        return (
            pool_graph(tokens=7, channels=12, mean=True),
            pool_graph(tokens=7, channels=10, mean=False),
            pool_graph(tokens=6, channels=8, mean=True, masked=True),
        )
