"""Latencies of the Verilog engine, by the modules that have them.

Everything that says how many cycles lie between two events of the engine stands here, so that a register more in a
pipeline is one line; `tests/cost/test_timing.py` measures them. A slot stands in front of the array in cycle t.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from flow.engine.parameters import Engine


@dataclass(frozen=True)
class Timing:
    """Cycles of an engine's pipelines."""

    engine: Engine

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
        """From a result to its value, or score: `PostLatency` of flow_engine.v."""
        return 14

    @property
    def residual(self) -> int:
        """From a result to the read of its residual's low plane (post_pipeline.v); the high one follows."""
        return 3

    @property
    def drain(self) -> int:
        """`DrainCycles` of flow_engine.v: step_dispatch takes a step for written so many cycles behind its last slot."""
        return self.array + self.post + self.engine.tokens + 8
