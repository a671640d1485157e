"""LayerNorm and RMSNorm of the int16 residual stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flow.engine import Engine
from flow.errors import FitError, UnsupportedError
from flow.ir.graph import Graph
from flow.ir.op import Array, register
from flow.ir.types import TensorType
from flow.numerics import norm_gain, normalise
from flow.ops import blocks
from flow.ops.device import DeviceOp, Estimate, Work, hardware_of, storage, timing_of
from flow.ops.hardware import Resources

MAX_CHANNELS = 4096
"""C^2 * 2^30 must stay below 2^62 in `normalise`."""
FIRST_READ = 5
"""From a step's start to the first values of its source (line_reader.v)."""
OUTPUTS = 2
"""Results that a norm step writes at most: the residual's and a matmul's."""


@register
@dataclass(frozen=True, eq=False)
class Norm(DeviceOp):
    """`y = norm_gain(normalise(x, epsilon, centred), gain, bias, shift, bits)`: x int16 [S, C] to int8 or
    int16 [S, C].

    `gain` int16-ranged [C], `bias` within 48 bits [C], one `shift` k. Norms of one input run as one step
    with two outputs.
    """

    name: ClassVar[str] = "norm"
    stage: ClassVar[str | None] = "norm"
    centred: bool
    epsilon: int
    gain: Array
    bias: Array
    shift: int
    bits: int
    scale: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x = inputs[0]
        if x.dtype != "int16" or len(x.shape) != 2 or x.shape[1:] != self.gain.shape:
            raise UnsupportedError(f"{self.name}: found input {x}; expected int16 [S, {len(self.gain)}]")
        if x.shape[1] > MAX_CHANNELS or not 0 <= self.epsilon < 2**60:
            raise FitError(
                f"{self.name}: found {x.shape[1]} channels, epsilon {self.epsilon}; "
                f"expected at most {MAX_CHANNELS} and below 2^60"
            )
        return (TensorType(x.shape, storage(self.bits, True), self.scale),)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        return (
            norm_gain(
                normalise(inputs[0], self.epsilon, self.centred), self.gain, self.bias, self.shift, self.bits
            ),
        )

    @classmethod
    def hardware(cls, engine: Engine) -> Resources:
        """Statistics, one root and reciprocal, and T*L lanes with two results each."""
        return blocks.norm(engine)

    def estimate(self, engine: Engine, work: Work) -> Estimate:
        """Cycles: `wait + D*B/L + scale + tiles * max(D*B/L, 4*D)`: the first tile of a sum, the array's and the
        stages' latency less two cycles for each of the other tiles; its statistics, its scale factors, and all
        tiles normalised while those of the next ones are gathered.

        Channels that fill a line up are read as any other. A line pair takes four cycles of the store's port,
        two for each reader, and four in `norm_collect`. `scale` = log2 L + (T - 1)*F + 67 (`norm_unit.v`): sums,
        deviations one every F cycles (`Timing.norm_fold`), and the tile's tokens gathered. Where `D*B/L < T*F`, tiles
        do not overlap.
        """
        lanes, timing = min(engine.norm_lanes, engine.banks), timing_of(engine)
        sweep = work.depth * (engine.banks // lanes)
        ports = 4 * work.depth
        tiles = engine.tiles(work.tokens)
        scale = timing.norm_scale
        run = tiles * max(sweep, ports)
        if sweep < timing.norm_tile:
            run += (tiles - 1) * (scale - timing.deviation)
        wait = max(0, timing.array + timing.post + 3 - 2 * (tiles - 1))
        cycles = wait + FIRST_READ + sweep + scale + run
        bound = "norm lanes" if sweep >= ports else "ports"
        fetch = work.fetch_cycles(work.preload, 1, engine.burst_beats)
        # Nothing begins before the constants stand.
        return Estimate(cycles, fetch, work.preload, cycles, 0, bound, hardware_of(type(self), engine))

    @classmethod
    def examples(cls) -> tuple[Graph, ...]:
        from flow.ops.examples import norm_graph

        return (
            norm_graph(tokens=5, channels=12),
            norm_graph(tokens=6, channels=20, centred=False),
            norm_graph(tokens=3, channels=9, bits=(16, 8)),
        )
