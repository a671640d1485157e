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
from flow.ops.device import DeviceOp, Estimate, Work, exact_matmul, hardware_of, timing_of
from flow.ops.hardware import Resources

TABLE_ENTRIES = 256
"""Exponentials: `EXP[min(max - score, 255)]`."""
ISSUE_CYCLES = 8
"""From a step's start to its first queries, and from its last slot to the next start (attention_unit.v,
step_dispatch.v)."""
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
        """Cycles over the pairs of a round of heads and a query tile (`attention_unit.v`):

        `drain + scores + latency + (pairs - 1) * max(scores + context, (context + pass) / 2, exp) + context + 8`.

        `scores = keys/P * words` (P keys a cycle, `words` = pitch/B where a head is wider than the banks, else 1;
        one head after the other where those abreast do not fill the banks), `context = passes * ceil(keys / (B/A))
        * pitch/P` for A heads abreast. `pass = G + A*T + log2 P + 7` and the divider's latency: from one pair to
        the next but one, for numerators of two pairs are held; `exp = max(G, A*T)` cycles of the exponential, G
        groups of P keys. `latency` is a pass, the array and the stages behind it. A causal tile has its own keys.
        """
        pitch = engine.head_pitch(work.channels // self.heads)
        abreast = engine.heads_abreast(pitch)
        T, B, P = engine.tokens, engine.banks, engine.rows
        timing, passes = timing_of(engine), self.exp_bits // 8
        tiles, rounds = engine.tiles(work.tokens), -(-self.heads // abreast)
        sweeps = 1 if pitch * abreast >= B else abreast
        keys = np.full(tiles, work.tokens, np.int64)
        if self.causal:
            keys = np.minimum(keys, T * np.arange(1, tiles + 1))
        rows = -(-keys // (B // abreast))
        scores = -(-keys // P) * sweeps * max(1, pitch // B)
        context = passes * rows * (pitch // P)
        groups = rows * (B // abreast) // P
        held = groups + timing.softmax(abreast)
        exp = np.maximum(groups, T * abreast)
        period = np.maximum(scores + context, np.maximum((context + held + 1) // 2, exp))
        # Queries are read when the values before them are written.
        first = (
            timing.drain + int(scores[0] + held[0]) + timing.array + timing.post + 1 + (P - 1).bit_length()
        )
        cycles = first + rounds * int(period.sum()) - int(period[-1]) + int(context[-1]) + ISSUE_CYCLES
        seen = work.tokens * (work.tokens + 1) // 2 if self.causal else work.tokens**2
        bound = "multipliers" if int((scores + context).sum()) >= int(period.sum()) else "post lanes"
        # The first pass waits for the table, which is written an entry a cycle when its beats have come.
        lag = TABLE_ENTRIES + cycles - timing.drain - int(scores[0]) - timing.array - timing.post
        macs = (1 + passes) * seen * work.channels
        resources = hardware_of(type(self), engine)
        fetch = work.fetch_cycles(work.preload, 1, engine.burst_beats)
        return Estimate(cycles, fetch, work.preload, lag, macs, bound, resources)

    @classmethod
    def examples(cls) -> tuple[Graph, ...]:
        from flow.ops.examples import attention_graph

        return (
            attention_graph(tokens=6, heads=2, width=4),
            attention_graph(tokens=9, heads=3, width=5, causal=True),
            attention_graph(tokens=5, heads=1, width=12, exp_bits=16),
            attention_graph(tokens=8, heads=2, width=8, masked=True),
        )
