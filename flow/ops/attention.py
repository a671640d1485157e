"""Multi-head attention with deferred softmax: one reciprocal per row, no division per element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flow.engine import Engine
from flow.errors import UnsupportedError
from flow.ir.graph import Graph
from flow.ir.op import Array, register
from flow.ir.types import TensorType
from flow.numerics import requantise, softmax_numerators, softmax_scale
from flow.ops import blocks
from flow.ops.device import DeviceOp, Estimate, Work, exact_matmul, hardware_of
from flow.ops.hardware import Resources

FILL_CYCLES = 52
"""Array latency 20 twice, exponential 4 and its sum 2, and the write of the last (head, tile) pair; the
reciprocal's 17 stages are in the exponential's pass."""
RECIPROCAL_CYCLES = 17


@register
@dataclass(frozen=True, eq=False)
class Attention(DeviceOp):
    """q, k, v int8 [S, heads*d] (and `attention_mask` [1, S]) to the context int8 [S, heads*d].

    Per head: `score = sat16(rescale(q.k, score_multiplier, score_shift))` at step 2^-5;
    `e = softmax_numerators(score, seen, exp_bits)`; `t = softmax_scale(sum e*v, e)`;
    `y = sat8(rescale(t, multiplier, shift))`. Rows at or beyond the length come out unspecified until
    `output` clears them.
    """

    name: ClassVar[str] = "attention"
    stage: ClassVar[str | None] = "attention"
    heads: int
    score_multiplier: int
    score_shift: int
    exp_bits: int
    multiplier: int
    shift: int
    causal: bool
    scale: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        q, k, v = inputs[:3]
        if (
            not (q.shape == k.shape == v.shape)
            or any(t.dtype != "int8" for t in (q, k, v))
            or q.shape[1] % self.heads
        ):
            raise UnsupportedError(
                f"{self.name}: found q {q}, k {k}, v {v}; expected equal int8 [S, heads*d]"
            )
        return (TensorType(q.shape, "int8", self.scale),)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        tokens, channels = inputs[0].shape
        q, k, v = (
            np.asarray(x, np.int64).reshape(tokens, self.heads, -1).transpose(1, 0, 2) for x in inputs[:3]
        )
        scores = requantise(
            exact_matmul(q, k.transpose(0, 2, 1)), self.score_multiplier, self.score_shift, 16
        )
        seen = np.ones((tokens, tokens), bool)
        if len(inputs) == 4:
            seen &= np.asarray(inputs[3]).reshape(1, tokens) != 0
        if self.causal:
            seen &= np.tri(tokens, dtype=bool)
        e = softmax_numerators(scores, seen, self.exp_bits)
        t = softmax_scale(exact_matmul(e, v), e)
        y = requantise(t, self.multiplier, self.shift, 8)
        return (y.transpose(1, 0, 2).reshape(tokens, channels),)

    @classmethod
    def hardware(cls, engine: Engine) -> Resources:
        """The array's other operands, softmax, and lanes for H heads behind the array."""
        return blocks.attention(engine)

    def estimate(self, engine: Engine, work: Work) -> Estimate:
        """Cycles over the pairs of head group and query tile, at least two of which interleave:

        `pairs * max(scores + context, exp) + max(0, exp - context) + fill`, where `scores = keys/P * words`
        (P keys a cycle, `words` = pitch/B where a head is wider than the banks, else 1), `context = passes *
        ceil(keys / (B/h)) * pitch/P` for h heads abreast, and `exp = keys/P + 17 + T`, one reciprocal a
        cycle; a single pair hides nothing.
        """
        width = work.channels // self.heads
        pitch = engine.head_pitch(width)
        abreast = engine.heads_abreast(pitch)
        tiles = engine.tiles(work.tokens)
        keys = tiles * engine.tokens
        passes = self.exp_bits // 8
        lines = -(-keys // (engine.banks // abreast))
        scores = keys // engine.rows * max(1, pitch // engine.banks)
        context = passes * lines * (pitch // engine.rows)
        exp = lines * (engine.banks // abreast) // engine.rows + RECIPROCAL_CYCLES + engine.tokens * abreast
        pairs = tiles * -(-self.heads // abreast)
        hidden = context if pairs > 1 else 0
        cycles = (
            pairs * max(scores + context, exp)
            + max(0, exp - hidden)
            + work.fetch_cycles(work.preload_beats)
            + FILL_CYCLES
        )
        seen = work.tokens * (work.tokens + 1) // 2 if self.causal else work.tokens**2
        bound = "multipliers" if scores + context >= exp else "post lanes"
        return Estimate(cycles, (1 + passes) * seen * work.channels, bound, hardware_of(type(self), engine))

    @classmethod
    def examples(cls) -> tuple[Graph, ...]:
        from flow.ops.examples import attention_graph

        return (
            attention_graph(tokens=6, heads=2, width=4),
            attention_graph(tokens=9, heads=3, width=5, causal=True),
            attention_graph(tokens=5, heads=1, width=12, exp_bits=16),
            attention_graph(tokens=8, heads=2, width=8, masked=True),
        )
