"""Hard swish, `y = x * clip(x + 3, 0, 6) / 6`, as a stage of flow's engines.

After Howard et al., "Searching for MobileNetV3" (ICCV 2019), section 5.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from flow import numerics
from flow.engine import Engine
from flow.errors import FlowError
from flow.ir import Array, Graph
from flow.ops.hardware import Multiplier, Mux, Resources, shifter
from flow.ops.post import PostStage


@dataclass(frozen=True, eq=False)
class HardSwish(PostStage):
    """`y = sat(rescale(x * clip(x + three, 0, six), multiplier, shift) + zero)`; `three` and `six` count steps of x."""

    name: ClassVar[str] = "hardswish"
    stage: ClassVar[str | None] = "hardswish"
    header: ClassVar[str] = "hardswish.hpp"
    module: ClassVar[str] = "hardswish_stage.v"
    latency: ClassVar[int] = 7
    targets: ClassVar[tuple[str, ...]] = ("aten.hardswish.default", "aten.hardswish_.default")

    three: int
    six: int
    multiplier: int
    shift: int

    @staticmethod
    def real(x: Array) -> Array:
        result: Array = x * np.clip(x + 3.0, 0.0, 6.0) / 6.0
        return result

    @classmethod
    def of(cls, step: float, bits: int, signed: bool, zero: int, scale: float) -> Self:
        if not 2.0**-20 <= step <= 0.25:
            raise FlowError(
                f"{cls.name}: found an input step of {step:.4g}; expected 2^-20 to 2^-2; calibrate again"
            )
        factor = numerics.derive_scale(step * step / 6 / scale, cls.name)
        return cls(
            bits, signed, zero, scale, round(3 / step), round(6 / step), factor.multiplier, factor.shift
        )

    def compute(self, x: Array) -> Array:
        gate = np.clip(x + self.three, 0, self.six)
        return np.asarray(numerics.rescale(x * gate, self.multiplier, self.shift))

    def parameters(self) -> tuple[int, ...]:
        return self.three, self.six, self.multiplier, self.shift

    @classmethod
    def hardware(cls, engine: Engine) -> Resources:
        """T*P lanes: an addition, two comparisons, a 16 x 24 and a 40 x 16 product, a shift of 56 bits to 17.
        First-principles, not yet calibrated against synthesis."""
        lanes = engine.tokens * engine.rows
        products = Resources(
            products=0,
            wide=(Multiplier(lanes, 24, 16), Multiplier(lanes, 40, 16)),
            trees=(),
            adder_bits=3 * 24 * lanes,
            muxes=(Mux(24 * lanes, 3),),
            ff=(24 + 40 + 56) * lanes,
            memories=(),
        )
        return products + shifter(lanes, 56, 17)

    @classmethod
    def examples(cls) -> tuple[Graph, ...]:
        from flow.ops.examples import stage_graph

        step = 2.0**-12
        byte: dict[str, Any] = {"bits": 8, "signed": False, "zero": 20, "scale": 8 / 240}
        wide: dict[str, Any] = {"bits": 16, "signed": True, "zero": 0, "scale": 7.9 / 32767}
        return (
            stage_graph(cls.of(step, **byte), tokens=7, channels=12, rows=10),
            stage_graph(cls.of(step, **wide), tokens=4, channels=8, rows=6),
        )
