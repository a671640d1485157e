"""Latencies of the Verilog engine, by the modules that have them.

Everything that says how many cycles lie between two events of the engine stands here, so that a register more in a
pipeline is one line; `tests/cost/test_timing.py` compares them. A slot stands in front of the array in cycle t.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from flow.engine.parameters import Engine

FOLD_LINES = 4
"""Lines of a norm's tiles that its statistics keep up with: 4*B channels."""
FOLDS = (1, 4, 8)
"""norm_deviation on UltraScale+ takes 2,890 look-up tables unfolded, 4,408, 2,518 and 1,519 folded by 2, 4 and 8: what
chooses in front of a stage costs more than half the stages save."""


@dataclass(frozen=True)
class Timing:
    """Cycles of an engine's pipelines; `stage_latency` of the slowest stage that a plug-in brings, 0 without any
    (`flow.ops.device.timing_of` knows it)."""

    engine: Engine
    stage_latency: int = 0

    @cached_property
    def levels(self) -> int:
        """log2 B: levels of an adder tree."""
        return (self.engine.banks - 1).bit_length()

    @property
    def array(self) -> int:
        """From a slot to its result: `ArrayLatency` of flow_engine.v."""
        return 9 + self.levels

    @property
    def post(self) -> int:
        """From a result to its value, or score: `PostLatency` of flow_engine.v, where stages of plug-ins take
        four cycles at least."""
        return 11 + max(4, self.stage_latency) if self.engine.outside else 14

    @property
    def residual(self) -> int:
        """From a result to the read of its residual's low plane (post_pipeline.v); the high one follows."""
        return 3

    @property
    def reciprocal(self) -> int:
        """From a divisor to its reciprocal (reciprocal.v)."""
        return 19

    @property
    def deviation(self) -> int:
        """From a token's sums to its reciprocal deviation (norm_deviation.v): six stages, a root of 64 bits, a
        register and a division."""
        return 6 + 32 + 1 + self.reciprocal

    @property
    def norm_fold(self) -> int:
        """Cycles from one token to the next in a norm's root and division, which have that much fewer stages: as many
        as keep up with tiles of `FOLD_LINES` lines, of `FOLDS` (norm_unit.v: `Fold`)."""
        engine = self.engine
        pieces = engine.banks // min(engine.norm_lanes, engine.banks)
        return max((fold for fold in FOLDS if fold * engine.tokens <= FOLD_LINES * pieces), default=1)

    @property
    def norm_tile(self) -> int:
        """Cycles in which a tile's tokens leave the statistics of a norm; tiles come no closer (norm_statistics.v)."""
        return self.engine.tokens * self.norm_fold

    @property
    def norm_scale(self) -> int:
        """From the last values of a tile to the read of its first line to be normalised: x, the moments' tree and
        accumulator, deviations of T tokens one behind the other, two products, a queue, and the tile's tokens gathered
        (norm_unit.v)."""
        lanes = min(self.engine.norm_lanes, self.engine.banks)
        tokens = self.norm_tile - self.norm_fold + 1
        return 2 + (2 + (lanes - 1).bit_length()) + self.deviation + tokens + 4

    def softmax(self, abreast: int) -> int:
        """From the start of a pass of no groups of keys to the first slot that may use its numerators: the
        look-ups, the tree of the sums, and reciprocals of T queries of each head abreast one a cycle, of which
        the last ones are still on their way while the first slots are (softmax_pass.v, softmax_sum.v)."""
        early = self.reciprocal - self.array - 3
        divisions = self.engine.tokens * abreast
        waits = max(divisions - max(-early, 0) - 1, 0) + max(early, 0)
        return 6 + (self.engine.rows - 1).bit_length() + waits + 2

    @property
    def ring_words(self) -> int:
        """Words of the row buffer, two of the longest row groups at least (`RingLog2` of flow_engine.v)."""
        cycle_bits = max(1, (self.engine.row_cycles - 1).bit_length())
        return int(1 << max(cycle_bits + 1, 9))

    @property
    def drain(self) -> int:
        """`DrainCycles` of flow_engine.v: behind a step's last slot, until step_dispatch takes it for written."""
        return self.array + self.post + self.engine.tokens + 8
