"""Energy of a sample and power of a board, from what an engine does: multiplications, bytes, clocked logic, leakage.

    dynamic = macs * product + bytes of on-chip memory * sram + bits from the memory off the FPGA * memory
              + cycles * (look-up tables + flip-flops) / 2 * logic
    bytes of on-chip memory = macs * (1 + 1/T) + bytes of the image * (3 where it lies on chip, else 2)
    sample  = dynamic + (static + rest) * latency

Coefficients are published figures of other silicon, scaled to the board's process and voltage (`Base`); nobody has
measured this engine on a board, so the error is not known. docs/boards.md says what is counted and what is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flow.boards import Board
from flow.cost.cycles import beat_cycles
from flow.cost.resources import engine_usage
from flow.engine import Engine

METHOD = (
    "energy by published figures of other silicon, scaled to process and voltage; not measured on any board, "
    "so its error is not known"
)


@dataclass(frozen=True)
class Base:
    """A published figure.

    Attributes:
        pj: energy in pJ, of what `source` names.
        nm: process that it was measured in, or given for.
        volts: supply.
        fabric: how many times as much an FPGA takes for it.
        source: where it stands.
    """

    pj: float
    nm: float
    volts: float
    fabric: float
    source: str

    def scaled(self, nm: float, volts: float) -> float:
        """In pJ on an FPGA: `pj * fabric * nm / nm_base * (V / V_base)^2`; capacitance goes with the feature size."""
        return self.pj * self.fabric * nm / self.nm * (volts / self.volts) ** 2


_HOROWITZ = "M. Horowitz, Computing's Energy Problem, ISSCC 2014: 45 nm, 0.9 V"
_GAP = (
    "I. Kuon and J. Rose, Measuring the Gap Between FPGAs and ASICs, IEEE TCAD 26(2), 2007: 7.1 times the dynamic "
    "power of standard cells where multipliers and memories are hard blocks"
)
PRODUCT = Base(
    0.2 + 0.1, 45, 0.9, 7.1, f"{_HOROWITZ}: 8-bit multiplication 0.2 pJ and 32-bit addition 0.1 pJ; {_GAP}"
)
"""A product and its share of the adder tree and of the accumulator."""
SRAM_BYTE = Base(10.0 / 8, 45, 0.9, 7.1, f"{_HOROWITZ}: 64 bits from an SRAM of 8 KB, 10 pJ; {_GAP}")
"""A byte read from or written into block RAM, UltraRAM or distributed RAM."""
LOGIC_CYCLE = Base(
    5.9 / 8, 150, 1.5, 1.0,
    "L. Shang, A. Kaviani and K. Bathala, Dynamic Power Consumption in Virtex-II FPGA Family, FPGA 2002: 5.9 uW a MHz "
    "for a block of 8 look-up tables and 8 flip-flops in typical designs, routing and clock included; 0.15 um, 1.5 V",
)  # fmt: skip
"""A look-up table with a flip-flop, in a cycle."""
PROCESS_NM = {
    "DSP48E2": 16.0,  # UltraScale+: DS890
    "DSP48E1": 28.0,  # 7 series: DS180, DS190
    "MULT18X18D": 40.0,  # ECP5: FPGA-DS-02012
}
"""Process by the kind of multiplier, which tells the family."""


@dataclass(frozen=True)
class Energy:
    """Energy and power of a model on a board.

    Attributes:
        sample_mj: mJ of one sample alone, from its first step to its end, whatever the board draws meanwhile included.
        average_w: W meanwhile.
        peak_w: W with every multiplier at work, beats coming as fast as they can: an upper bound within the model.
        parts: mJ of a sample by what takes it.
    """

    sample_mj: float
    average_w: float
    peak_w: float
    parts: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return {
            "sample_mj": round(self.sample_mj, 6),
            "average_w": round(self.average_w, 4),
            "peak_w": round(self.peak_w, 4),
            "parts_mj": {name: round(part, 6) for name, part in self.parts.items()},
            "method": METHOD,
        }


@dataclass(frozen=True)
class Activity:
    """What a sample makes an engine do.

    Attributes:
        engine: the engine.
        cycles: of one sample alone.
        macs: useful products of it.
        image_bytes: of the memory image, which is read once a sample.
    """

    engine: Engine
    cycles: int
    macs: int
    image_bytes: float


def energy_of(activity: Activity, board: Board) -> Energy | None:
    """Energy of one sample on `board`, at the board's level; None where its file says nothing of power.

    A product reads an operand byte, and a weight byte that the T token lanes share; a byte of the image is written into
    the row buffer and read from it, and read from on-chip memory first where it lies there. Writes of activations are
    left out: one for each column that a row keeps.
    """
    if board.power is None:
        return None
    engine, power = activity.engine, board.power
    nm, volts = PROCESS_NM[board.dsp_kind], power.vccint_v
    product, sram = PRODUCT.scaled(nm, volts), SRAM_BYTE.scaled(nm, volts)
    reads = 1 + 1 / engine.tokens
    on_chip = board.weights == "on-chip"
    image_sram = sram * (3 if on_chip else 2)
    image_memory = 0.0 if on_chip else 8 * power.memory_pj_per_bit
    # A pair of a look-up table and a flip-flop; whichever there are more of stands with half a pair.
    used = engine_usage(engine, board)
    logic = LOGIC_CYCLE.scaled(nm, volts) * (used.lut + used.ff) / 2
    seconds = activity.cycles / (board.clock_mhz * 1e6)
    parts = {
        "multipliers": activity.macs * product * 1e-9,
        "on-chip memory": (activity.macs * reads * sram + activity.image_bytes * image_sram) * 1e-9,
        "external memory": activity.image_bytes * image_memory * 1e-9,
        "logic and clock": activity.cycles * logic * 1e-9,
        "static": power.static_w * seconds * 1e3,
        "rest of the board": power.rest_w * seconds * 1e3,
    }
    sample = sum(parts.values())
    bytes_a_cycle = engine.beat_bytes / beat_cycles(engine, board)
    cycle_pj = (
        engine.multipliers * (product + reads * sram) + bytes_a_cycle * (image_sram + image_memory) + logic
    )
    return Energy(
        sample_mj=sample,
        average_w=sample * 1e-3 / seconds,
        peak_w=power.static_w + power.rest_w + cycle_pj * board.clock_mhz * 1e-6,
        parts=parts,
    )
