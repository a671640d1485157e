"""What a board is: its figures, and what follows from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from flow.errors import FlowError, near

Vendor = Literal["amd", "lattice"]
FlowTarget = Literal["open", "vivado", "vitis"]
WeightStore = Literal["ddr", "hbm", "sdram", "on-chip"]

_URAM_KBIT = 288
NOMINAL = "nominal"
"""The level that every board has: `clock_mhz`, at the voltage of its power figures where it has any."""
NO_FIGURES = ("level", "text", "bundled")
"""Fields of `Board` that its file does not say: what was chosen of it, and where it came from."""


@dataclass(frozen=True)
class DspKind:
    """How a hardware multiplier takes the engine's product of an activation and an 8-bit weight.

    With two products, the wide port holds `a1 * 2**spacing + a0` and the narrow one the shared weight w, so that
    the result is `a1*w * 2**spacing + a0*w`; the upper product is `(p >> spacing) + p[spacing - 1]`. Activations
    are int8 or unsigned bytes: -128 <= a <= 255 of the 9-bit range. (Below -128 the packed operand would leave the
    port: -256 * 2**18 - 1 takes 28 bits.)

    Attributes:
        name: the primitive's name.
        wide_bits: width of the wider signed operand.
        narrow_bits: width of the other signed operand.
        products: products per primitive and cycle.
        spacing: bits between the two packed products; 0 with one product.
        source: the document that gives the operand widths.
    """

    name: str
    wide_bits: int
    narrow_bits: int
    products: int
    spacing: int
    source: str

    @property
    def packed_terms(self) -> int:
        """How many packed results may be added before they are unpacked.

        The sum of n lower products must stay a signed number of `spacing` bits: `n * 255 * 128 < 2**(spacing - 1)`.
        It is 0 where nothing is packed.
        """
        return 2 ** (self.spacing - 1) // (255 * 128) if self.products > 1 else 0


DSP_KINDS: dict[str, DspKind] = {
    kind.name: kind
    for kind in (
        DspKind("DSP48E2", 27, 18, 2, 18, "UG579, UltraScale Architecture DSP Slice User Guide"),
        DspKind("DSP48E1", 25, 18, 2, 16, "UG479, 7 Series DSP48E1 Slice User Guide"),
        DspKind("MULT18X18D", 18, 18, 1, 0, "FPGA-DS-02012, ECP5 and ECP5-5G Family Data Sheet"),
    )
}


@dataclass(frozen=True)
class Source:
    """A document and the figures of one board that it proves.

    Attributes:
        document: the publisher's document number, or "flow" for a choice of this project.
        title: the document's title.
        place: table, section or reason.
        figures: keys of the board file, such as `resources.lut`.
    """

    document: str
    title: str
    place: str
    figures: tuple[str, ...]


@dataclass(frozen=True)
class Memory:
    """The memory off the FPGA that holds program and weights.

    Attributes:
        kind: the DRAM technology, for people.
        channels: independent channels; an AXI4 master reaches one of them at a time.
        width_bits: data bits of one channel.
        data_rate_mt_s: million transfers a second on each data bit.
        bandwidth_gb_s: peak of all channels together, in 10^9 bytes a second.
        capacity_mib: size of all channels together, in MiB.
        port: what the engine's AXI4 master connects to: a v++ memory tag, or the processor's slave port.
    """

    kind: str
    channels: int
    width_bits: int
    data_rate_mt_s: int
    bandwidth_gb_s: float
    capacity_mib: int
    port: str

    @property
    def channel_gb_s(self) -> float:
        """Peak bandwidth of one channel, in 10^9 bytes a second."""
        return self.bandwidth_gb_s / self.channels


@dataclass(frozen=True)
class Level:
    """A clock and a core voltage at which a board can run.

    Attributes:
        name: what `--level` takes.
        clock_share: of the board's `clock_mhz`, above 0 and at most 1.
        vccint_v: core voltage.
    """

    name: str
    clock_share: float
    vccint_v: float


@dataclass(frozen=True)
class Power:
    """What a board draws whatever the engine does, and what follows from its voltage and its memory.

    Attributes:
        vccint_v: core voltage at the nominal level.
        static_w: what the device draws at that voltage while nothing switches, at room temperature.
        rest_w: what draws beside it: processor system, memory at rest, card.
        memory_pj_per_bit: energy of a bit from the memory off the FPGA; 0 where weights lie on chip, and nothing is
            ever read from there.
        levels: beside the nominal one.
    """

    vccint_v: float
    static_w: float
    rest_w: float
    memory_pj_per_bit: float
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class Board:
    """One FPGA board.

    Attributes:
        name: what `--board` takes.
        title: the name on the box.
        vendor: whose tools build for it.
        family: device family.
        device: the die, as its data sheet calls it.
        part: ordering code as the vendor's tools take it.
        platform: Vitis platform that `v++ --platform` takes; empty where there is none.
        flow_target: which HLS flow packs the engine; "open" is Yosys and nextpnr.
        weights: where program and weights live.
        clock_mhz: the engine clock that is aimed at; a target, not a measurement.
        axi_beat_bytes: bytes of one beat of the AXI4 master.
        max_utilisation: the share of each resource that an engine may take, 0 to 1.
        logic_cells: the vendor's logic cell count, which is no LUT count.
        lut: look-up tables.
        lut_inputs: inputs of each look-up table.
        ff: flip-flops.
        bram: block RAMs of `bram_kbit` each.
        bram_kbit: Kibit of one block RAM, parity bits included: 36 (AMD) or 18 (ECP5's EBR).
        uram: UltraRAMs of 288 Kibit.
        dsp: hardware multipliers of `dsp_kind`.
        dsp_kind: key of `DSP_KINDS`.
        slrs: super logic regions (dies side by side); 1 on a single die.
        memory: off-chip memory.
        power: what it draws; None where the file says nothing of it, and energy is unknown.
        level: at which `clock_mhz` and `power` are given.
        sources: the proof of every figure.
        text: the board file; a build on a user's own board carries it.
        bundled: whether flow brings the board, so that its name is enough.
    """

    name: str
    title: str
    vendor: Vendor
    family: str
    device: str
    part: str
    platform: str
    flow_target: FlowTarget
    weights: WeightStore
    clock_mhz: float
    axi_beat_bytes: int
    max_utilisation: float
    logic_cells: int
    lut: int
    lut_inputs: int
    ff: int
    bram: int
    bram_kbit: int
    uram: int
    dsp: int
    dsp_kind: str
    slrs: int
    memory: Memory
    sources: tuple[Source, ...]
    power: Power | None = None
    level: str = NOMINAL
    text: str = field(default="", repr=False, compare=False)
    bundled: bool = field(default=True, compare=False)

    @property
    def bram18(self) -> int:
        """Block RAM in units of 18 Kibit; an AMD block of 36 Kibit splits into two."""
        return self.bram * (self.bram_kbit // 18)

    @property
    def products_per_dsp(self) -> int:
        """Products of an activation and a weight that one hardware multiplier makes in a cycle."""
        return DSP_KINDS[self.dsp_kind].products

    @property
    def product_spacing(self) -> int:
        """Bits between the two products packed into one multiplier; 0 where there is one."""
        return DSP_KINDS[self.dsp_kind].spacing

    @property
    def multipliers(self) -> int:
        """Products a cycle if every hardware multiplier were in the array."""
        return self.dsp * self.products_per_dsp

    @property
    def on_chip_bytes(self) -> int:
        """Bytes of block RAM and UltraRAM together, parity bits counted as data."""
        return (self.bram * self.bram_kbit + self.uram * _URAM_KBIT) * 1024 // 8

    def weight_bytes_per_cycle(self, clock_mhz: float | None = None) -> float:
        """Bytes of weights that one AXI4 master can fetch in an engine cycle, at peak.

        It is `min(axi_beat_bytes, channel bandwidth / clock)`: one master reaches one channel at a time.
        """
        clock = self.clock_mhz if clock_mhz is None else clock_mhz
        return min(float(self.axi_beat_bytes), self.memory.channel_gb_s * 1000.0 / clock)

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the levels at which the board can run."""
        return (NOMINAL, *(level.name for level in self.power.levels)) if self.power else (NOMINAL,)

    def at(self, level: str) -> Board:
        """The board at one of its levels: another clock, and the static power of another voltage.

        Static power is taken to go with the voltage, `static_w * V / V_nominal`: from 0.85 V to 0.72 V Vivado's reports
        agree with that within 1 % (docs/boards.md).

        Raises:
            FlowError: the board has no such level.
        """
        if level == self.level:
            return self
        chosen = {} if self.power is None else {choice.name: choice for choice in self.power.levels}
        if level not in chosen or self.level != NOMINAL:
            known = self.levels if self.level == NOMINAL else (self.level,)
            raise FlowError(
                f"board {self.name}: found no level {level!r}; expected one of {', '.join(known)}{near(level, known)}"
            )
        assert self.power is not None
        found = chosen[level]
        power = replace(
            self.power,
            vccint_v=found.vccint_v,
            static_w=self.power.static_w * found.vccint_v / self.power.vccint_v,
        )
        return replace(self, clock_mhz=self.clock_mhz * found.clock_share, power=power, level=level)

    def figures(self) -> list[tuple[str, Any]]:
        """Everything that the file says but its sources, by dotted key; a level in words."""
        apart = ("memory", "power", "sources", *NO_FIGURES)
        found = [(name, value) for name, value in asdict(self).items() if name not in apart]
        found += [(f"memory.{name}", value) for name, value in asdict(self.memory).items()]
        if self.power is None:
            return [*found, ("power", "unknown: the board's file has no [power]")]
        power = asdict(self.power)
        power.pop("levels")
        found += [(f"power.{name}", value) for name, value in power.items()]
        return found + [
            (f"power.levels.{level.name}", f"{level.clock_share:g} of the clock at {level.vccint_v:g} V")
            for level in self.power.levels
        ]

    def source(self, figure: str) -> Source:
        """Return the document behind `figure`, a key of the board file such as `resources.lut`.

        Raises:
            FlowError: the board has no such figure.
        """
        for source in self.sources:
            if figure in source.figures:
                return source
        known = [name for source in self.sources for name in source.figures]
        hint = near(figure, known)
        raise FlowError(f"board {self.name}: no figure {figure!r}; expected one of {', '.join(known)}{hint}")
