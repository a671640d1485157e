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
from flow.ops.device import DeviceOp, Estimate, Work, hardware_of, storage, timing_of
from flow.ops.hardware import AdderTree, Memory, Multiplier, Mux, Resources, divider, shifter, square_root

MAX_CHANNELS = 4096
"""C^2 * 2^30 must stay below 2^62 in `normalise`."""
FIRST_READ = 4
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
        """Statistics, one root and reciprocal, and T*L lanes; first-principles, not yet calibrated against
        synthesis.

        - statistics, while the residual is written: T*P squares of 16 bits, trees over P, sums of 28 and 44
          bits a token.
        - one token a cycle: `C*sum(x^2)`, `(sum x)^2`, the square root of 62 bits, the reciprocal, and `C*r`
          and `(sum x)*r`, so that `z = (x*(C*r) - (sum x)*r + 2^(n+2)) >> (n+3)` takes one product a lane.
        - T*L lanes: 16 x 30 product, subtraction of 46 bits, shift to 20; per output a 20 x 16 product with
          the gain, the bias' addition of 48 bits and a shift to 16. L channels' constants of both outputs a
          word.
        """
        T, P = engine.tokens, engine.rows
        lanes = T * engine.norm_lanes
        words = -(-engine.depth * engine.banks // engine.norm_lanes)
        statistics = Resources(
            products=0,
            wide=(
                Multiplier(T * P, 16, 16),
                Multiplier(1, 44, 14),
                Multiplier(1, 28, 28),
                Multiplier(1, 17, 14),
                Multiplier(1, 28, 18),
            ),
            trees=(AdderTree(T, P, 32, products=False), AdderTree(T, P, 16, products=False)),
            adder_bits=T * (28 + 44) + 62,
            muxes=(),
            ff=T * (28 + 44) + 4 * 62,
            memories=(Memory("norm sums", engine.tiles(engine.sequence), T * (28 + 44), 1, 1),),
        )
        gains = Resources(
            products=0,
            wide=(Multiplier(lanes, 16, 30), Multiplier(OUTPUTS * lanes, 20, 16)),
            trees=(),
            adder_bits=lanes * (46 + OUTPUTS * 48),
            muxes=(Mux(16 * lanes, -(-engine.banks // engine.norm_lanes)),),
            ff=lanes * (16 + 46 + OUTPUTS * 48),
            memories=(Memory("norm constants", words, OUTPUTS * 64 * engine.norm_lanes, 1, 1),),
        )
        scale = square_root(62) + divider(31, 17)
        return statistics + scale + gains + shifter(lanes, 46, 20) + shifter(OUTPUTS * lanes, 48, 16)

    def estimate(self, engine: Engine, work: Work) -> Estimate:
        """Cycles: `wait + D*B/L + scale + tiles * max(D*B/L, 4*D)`: the first tile of a sum, the array's and the
        stages' latency less two cycles for each of the other tiles; its statistics, its scale factors, and all
        tiles normalised while those of the next ones are gathered.

        Channels that fill a line up are read as any other. A line pair takes four cycles of the store's port,
        two for each reader, and four in `norm_collect`. `scale` = log2 L + T + 66 (`norm_unit.v`): sums,
        deviations one a cycle, and the tile's tokens gathered. Where `D*B/L < T`, tiles do not overlap.
        """
        lanes, timing = min(engine.norm_lanes, engine.banks), timing_of(engine)
        sweep = work.depth * (engine.banks // lanes)
        ports = 4 * work.depth
        tiles = engine.tiles(work.tokens)
        scale = timing.norm_scale
        run = tiles * max(sweep, ports)
        if sweep < engine.tokens:
            run += (tiles - 1) * (scale - timing.deviation)
        wait = max(0, timing.array + timing.post + 2 - 2 * (tiles - 1))
        cycles = wait + FIRST_READ + sweep + scale + run
        bound = "norm lanes" if sweep >= ports else "ports"
        fetch = work.fetch_cycles(work.preload, 1, engine.burst_beats)
        if fetch > cycles:
            bound = "memory bandwidth"
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
